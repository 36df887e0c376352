# One image for every app; the command says which. Built in two stages so that compilers and tests stay out.
FROM node:24-bookworm-slim AS build
WORKDIR /lintel
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY . .
RUN npm run build && npm prune --omit=dev --no-audit --no-fund

FROM node:24-bookworm-slim
ENV NODE_ENV=production
WORKDIR /lintel
COPY --from=build /lintel/package.json ./
COPY --from=build /lintel/node_modules ./node_modules
COPY --from=build /lintel/dist ./dist
# The command line, for `docker compose exec diagnostics lintel why …`.
RUN mkdir /var/lib/lintel && chown node:node /var/lib/lintel \
  && printf '#!/bin/sh\nexec node /lintel/dist/apps/cli/src/main.js "$@"\n' > /usr/local/bin/lintel && chmod 755 /usr/local/bin/lintel
ENV LINTEL_HOME=/var/lib/lintel
USER node
VOLUME /var/lib/lintel
# gateway, diagnostics, engine-sim
CMD ["node", "dist/apps/gateway/src/main.js"]
