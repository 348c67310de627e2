#!/bin/sh
# Says what a binary needs of the machine that it runs on, and fails if that is more than the release promises:
#   sh release/check-binary.sh BINARY
# Needs readelf (binutils), which every machine has that can link.
set -eu
binary=$1
promised=$(sed -n 's/^glibc=//p' "$(dirname "$0")/build.sh")

needs=$(readelf --version-info --wide "$binary" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -Vu | tail -n 1)
libraries=$(readelf --dynamic --wide "$binary" | sed -n 's/.*(NEEDED).*\[\(.*\)\]$/\1/p' | sort | tr '\n' ' ')
echo "$binary: needs glibc ${needs:-(none)}; libraries: ${libraries:-(none)}"

# A statically linked glibc loads the machine's modules for names all the same, and dies under another glibc's.
case $libraries in
*libc.so.*) ;;
*)
    echo "$binary is linked statically: it would not run on machines with another glibc. Build it with release/build.sh." >&2
    exit 1
    ;;
esac
if [ "$(printf '%s\n%s\n' "${needs:-0}" "$promised" | sort -V | tail -n 1)" != "$promised" ]; then
    echo "$binary needs glibc $needs, but the release promises to run with $promised. Build it with release/build.sh." >&2
    exit 1
fi
# What every glibc brings. Another library would have to be installed first.
for library in $libraries; do
    case $library in
    libc.so.* | libm.so.* | libpthread.so.* | libdl.so.* | librt.so.* | libutil.so.* | libresolv.so.* | ld-linux*) ;;
    *)
        echo "$binary needs $library, which is no part of glibc: a bare machine may lack it. Link it statically." >&2
        exit 1
        ;;
    esac
done
