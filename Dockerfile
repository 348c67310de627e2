# syntax=docker/dockerfile:1
# muster's image: Debian's glibc, the authorities that it trusts, and one binary. No shell; runs with a read-only root file system and no
# capability.
#   docker build -t muster .                           for this machine's architecture
#   docker build --platform linux/arm64 -t muster .    for Fargate on Graviton; nothing is emulated, the compiler runs here and crosses
# A release gives its own binaries instead of the stage `build`: docker build --build-context build=FOLDER, with FOLDER/ARCHITECTURE/muster.
FROM --platform=$BUILDPLATFORM rust:1.95-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1 AS build
WORKDIR /src
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*
COPY release/requirements.txt release/
RUN python3 -m venv .venv-release && .venv-release/bin/pip install --no-cache-dir --require-hashes -r release/requirements.txt
COPY . .
# amd64 or arm64: the architecture that the image is for.
ARG TARGETARCH
# What was compiled stays between builds: a change of muster's own code does not build the AWS SDK again. One folder an architecture, for
# two builds at once would wait for each other.
RUN --mount=type=cache,id=muster-registry,target=/usr/local/cargo/registry \
    --mount=type=cache,id=muster-target-$TARGETARCH,target=/src/target \
    sh release/build.sh "$TARGETARCH" "/$TARGETARCH/muster"

# glibc and what belongs to it, without OpenSSL. Built from Debian's packages, for all architectures, as user 65532.
FROM gcr.io/distroless/base-nossl-debian13:nonroot@sha256:8c563c1fb5e120606f0d85733049775faed6192e2bd2223ef283a5393eec22b9
ARG TARGETARCH
COPY --from=build /$TARGETARCH/muster /muster
USER 65532:65532
# The webhook. The admin listener (9090) is on the loopback unless the Controller's manifest says otherwise.
EXPOSE 8080
ENTRYPOINT ["/muster"]
CMD ["run"]
