# --- build ---------------------------------------------------------------------
# It brings the C compiler that aws-lc, the library of ciphers, wants.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# The caches make the next build short. They are no part of the image, hence the copy.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    packaging/pgo/build /usr/local/bin/longshore

# --- image ---------------------------------------------------------------------
# The C library, the certificates for the AWS API, and nothing else: no shell, no package manager.
# It is of the same Debian as the build, so that the C library fits.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /usr/local/bin/longshore /usr/local/bin/longshore
# By number, so that Kubernetes and ECS can see that it is not root's. Nothing is written, so the
# root file system may be read-only.
USER 65532:65532
# Asks /livez of the admin server that the file names.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/longshore", "health", "-c", "/etc/longshore/longshore.yaml"]
# SIGTERM drains for up to runtime.drain_timeout, 30 s by default, and Docker waits for 10 s:
# docker run --stop-timeout 45.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/longshore"]
CMD ["run", "-c", "/etc/longshore/longshore.yaml"]
