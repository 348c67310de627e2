#!/bin/sh
# Makes the root file system of another distribution, as far as a program that resolves names needs it: the glibc and the modules of the
# name service switch, from the distribution's own packages. Nothing is installed, and the script does not need to run as root:
#   sh tests/roots/make.sh SUITE FOLDER
# The packages come from where this machine gets its own, so SUITE must be of the same distribution (bullseye, trixie; focal, noble). The
# exit code 3 says that this machine cannot have the root, and the last line says why.
set -eu
suite=$1 folder=$2

cannot() {
    echo "$1" >&2
    exit 3
}
for program in apt-get apt-cache dpkg-deb; do
    command -v "$program" >/dev/null 2>&1 || cannot "no $program: only Debian and Ubuntu have packages to make the root of $suite from"
done
# shellcheck source=/dev/null
. /etc/os-release
# shellcheck disable=SC2016 # the names are apt's
mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' | sed -n "s/^${VERSION_CODENAME:-none} //p" | head -n 1)
[ -n "$mirror" ] || cannot "apt knows no mirror of ${VERSION_CODENAME:-this distribution}; run apt-get update"
keyring=$(find /usr/share/keyrings -name "$ID-archive-keyring.*" | head -n 1)
[ -n "$keyring" ] || cannot "no keyring of $ID in /usr/share/keyrings"

# apt, with lists and packages in a directory of its own.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir -p "$work/lists/partial" "$work/packages" "$work/parts"
: >"$work/status"
components=main
[ "$ID" != ubuntu ] || components="main universe"
printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\nSigned-By: %s\n' "$mirror" "$suite" "$components" "$keyring" >"$work/apt.sources"
foreign() {
    program=$1
    shift
    "$program" -qq -o Dir::Etc::SourceList="$work/apt.sources" -o Dir::Etc::SourceParts="$work/parts" -o Dir::State::Lists="$work/lists" \
        -o Dir::State::Status="$work/status" -o Dir::Cache="$work" -o Acquire::Retries=3 -o Acquire::Languages=none \
        -o APT::Update::Error-Mode=any -o APT::Sandbox::User=root "$@"
}
foreign apt-get update >"$work/said" 2>&1 || cannot "apt-get cannot read $suite: $(tail -n 1 "$work/said")"
(cd "$work/packages" && foreign apt-get download libc6 libgcc-s1 libcap2 libnss-myhostname libnss-resolve) >"$work/said" 2>&1 \
    || cannot "apt-get cannot download the packages of $suite: $(tail -n 1 "$work/said")"

# /lib is a link into /usr, as on every installed system. Packages unpack through the link.
rm -rf "$folder"
mkdir -p "$folder/usr/lib" "$folder/usr/lib64" "$folder/etc/ssl/certs" "$folder/tmp"
ln -s usr/lib "$folder/lib"
ln -s usr/lib64 "$folder/lib64"
for package in "$work/packages"/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$folder" --keep-directory-symlink --no-same-owner --exclude './usr/share/*'
done
