# --- build ---------------------------------------------------------------------
# It brings the C compiler that aws-lc, the library of ciphers, wants.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# The caches make the next build short. They are no part of the image, hence the copy.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --profile dist -p longshore \
    && cp target/dist/longshore /usr/local/bin/longshore

# --- image ---------------------------------------------------------------------
FROM debian:bookworm-slim
# The certificates are for the AWS API.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/bin/longshore /usr/local/bin/longshore
# Any number but root's: nothing is written and no file is owned.
USER 10001:10001
# There is no HEALTHCHECK: who wants to know asks over HTTP.
ENTRYPOINT ["longshore"]
CMD ["run", "-c", "/etc/longshore/config.yaml"]
