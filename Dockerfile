# syntax=docker/dockerfile:1
# tq in a small image, as a user without rights. Put a project on top of it:
#
#   FROM tq
#   COPY proj /app/proj
#   ENV TQ_APP=proj TQ_BROKER_URL=redis://redis:6379/0
#
FROM node:22-bookworm-slim AS build
WORKDIR /src
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json build.mjs ./
COPY src src
COPY bin bin
RUN npm run build && npm prune --omit=dev --ignore-scripts

FROM node:22-bookworm-slim
# tini is process 1: it buries what orphans leave and passes signals on.
RUN apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 tq && useradd --uid 10001 --gid tq --home-dir /app --shell /usr/sbin/nologin tq \
 && install -d -o tq -g tq /app /var/lib/tq /run/tq \
 && mkdir /node_modules && ln -s /opt/tq /node_modules/tq && ln -s /opt/tq/bin/tq.js /usr/local/bin/tq
COPY --from=build /src/node_modules /opt/tq/node_modules
COPY --from=build /src/dist /opt/tq/dist
COPY --from=build /src/bin /opt/tq/bin
COPY --from=build /src/package.json /opt/tq/package.json
COPY docker/entrypoint docker/healthcheck /opt/tq/docker/
# Docker gives a container 10 seconds to stop: what has not finished two seconds before goes back to its queue.
ENV NODE_ENV=production TQ_WORKER_GRACE=8 TQ_BEAT_SCHEDULE_FILENAME=/var/lib/tq/beat-schedule
WORKDIR /app
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s CMD ["/opt/tq/docker/healthcheck"]
ENTRYPOINT ["/opt/tq/docker/entrypoint"]
CMD ["worker", "-l", "INFO"]
