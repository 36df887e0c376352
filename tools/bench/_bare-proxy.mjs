// The yardstick: the least that a proxy of node:http and undici can do, round robin over the given ports. No routing, no checks.
import { createServer } from 'node:http';
import { Pool } from 'undici';

const pools = process.argv.slice(2).map((port) => new Pool(`http://127.0.0.1:${port}`, { pipelining: 1 }));
let turn = 0;

const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    const pool = pools[turn++ % pools.length];
    pool
      .request({
        method: request.method,
        path: request.url,
        headers: { 'content-type': request.headers['content-type'], accept: request.headers.accept },
        body: chunks.length === 1 ? chunks[0] : Buffer.concat(chunks),
      })
      .then(({ statusCode, headers, body }) => {
        response.writeHead(statusCode, headers);
        body.pipe(response);
      })
      .catch(() => {
        response.writeHead(502).end();
      });
  });
});
server.listen({ port: 0, host: '127.0.0.1', backlog: 8192 }, () =>
  process.stdout.write(`${JSON.stringify({ ready: true, port: server.address().port, pid: process.pid })}\n`),
);
process.on('SIGTERM', () => process.exit(0));
