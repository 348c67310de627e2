#!/bin/sh
# Makes a release's files of what release/build.sh and release/notices.sh left in a folder (default dist):
#   sh release/pack.sh [FOLDER]
#   muster-VERSION-linux-x64.tar.gz, -linux-arm64.tar.gz    the binary, licences, systemd unit, completions, manual pages
#   muster-VERSION-terraform.tar.gz                         the module, as Terraform takes it from an address
#   SHA256SUMS                                              of these and of the bills of materials
# The same commit gives the same bytes. Needs GNU tar, and a machine that can run one of the two binaries.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-$root/dist}
folder=$(cd "$folder" && pwd)
cd "$root"
version=$(sh release/version.sh)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}

for needed in linux-x64/muster linux-arm64/muster THIRD-PARTY.txt "muster-$version-linux-x64.cdx.json" "muster-$version-linux-arm64.cdx.json"; do
    [ -f "$folder/$needed" ] || { echo "release/pack.sh: $folder/$needed is missing; run release/build.sh x64, release/build.sh arm64 and release/notices.sh" >&2; exit 1; }
done

# Completions and manual pages are the same for all machines; whichever binary runs here writes them.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
muster=
for name in linux-x64 linux-arm64; do
    if "$folder/$name/muster" --version >"$work/version" 2>/dev/null; then muster=$folder/$name/muster; break; fi
done
[ -n "$muster" ] || { echo "release/pack.sh: neither binary runs on this machine, so completions and manual pages cannot be made" >&2; exit 1; }
if [ "$(cat "$work/version")" != "muster $version" ]; then
    echo "release/pack.sh: $muster says \"$(cat "$work/version")\", but Cargo.toml says $version. Build it again." >&2
    exit 1
fi
mkdir -p "$work/share/completions" "$work/share/man"
for shell in bash fish zsh; do "$muster" completions "$shell" >"$work/share/completions/muster.$shell"; done
"$muster" man "$work/share/man" >/dev/null

archive() { # NAME FOLDER MEMBER...
    name=$1 from=$2
    shift 2
    tar --create --sort=name --format=posix --pax-option=delete=atime,delete=ctime --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 \
        --numeric-owner --mode=u=rwX,go=rX --directory "$from" "$@" | gzip --no-name --best >"$folder/$name"
}

rm -f "$folder"/muster-*.tar.gz "$folder/SHA256SUMS"
for name in linux-x64 linux-arm64; do
    top=muster-$version-$name
    mkdir "$work/$top"
    cp "$folder/$name/muster" LICENSE "$folder/THIRD-PARTY.txt" CHANGELOG.md terraform/modules/controller/muster.service "$work/$top/"
    cp -r "$work/share/completions" "$work/share/man" "$work/$top/"
    chmod 755 "$work/$top/muster"
    archive "$top.tar.gz" "$work" "$top"
done

# The module stands at the archive's root: `source = "https://.../muster-VERSION-terraform.tar.gz"` is all that it takes.
mkdir "$work/terraform"
git archive HEAD:terraform | tar --extract --directory "$work/terraform"
cp LICENSE "$work/terraform/"
archive "muster-$version-terraform.tar.gz" "$work/terraform" .

(cd "$folder" && sha256sum muster-"$version"-* >SHA256SUMS && cat SHA256SUMS)
