# muster in an empty image: one static binary and the authorities that it trusts. Runs with a read-only root file system and no
# capability. Build for the architecture that it is to run on:
#   docker build --platform linux/arm64 -t muster .
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# glibc itself is linked in: musl's allocator is slow.
RUN target="$(uname -m)-unknown-linux-gnu" \
    && RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --package muster --bin muster --target "$target" \
    && cp "target/$target/release/muster" /muster

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /muster /muster
USER 65532:65532
# The webhook. The admin listener (9090) is on the loopback unless the Controller's manifest says otherwise.
EXPOSE 8080
ENTRYPOINT ["/muster"]
CMD ["run"]
