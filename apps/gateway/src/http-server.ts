import type { RequestListener, Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo, Server as TcpServer } from 'node:net';
import { createServer } from 'node:http';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { listenError } from '#libs/nest-kit';
import type { EdgeFront } from './edge/index.ts';
import type { DataPlane } from './serve/data-plane.ts';
import { serverOptions } from './serve/client-errors.ts';

/**
 * Fastify on a server that listens nowhere: it gets the connections on which a request comes that is not the data plane's. What else comes
 * on them goes first to the data plane, as everywhere.
 */
export function fastifyBehind(dataPlane: () => DataPlane, servers: Set<Server>, front?: EdgeFront): FastifyAdapter {
  const serverFactory = (nest: RequestListener): Server => {
    const first = dataPlane();
    const serve: RequestListener = (req, res) => {
      if (!first.handle(req, res)) nest(req, res);
    };
    const server = createServer(serverOptions, serve);
    front?.behind({ http1: (socket) => first.front.accept(socket), serve, late: (response) => first.late(response) });
    first.attach(server);
    servers.add(server);
    return server;
  };
  return new FastifyAdapter({ serverFactory } as never);
}

/** Connections that the kernel holds until they are taken; node's 511 refuses some of a few thousand clients that come at once. */
const connectionsWaitingMax = 4096;

/** Where a gateway listens. */
export interface ListenAt {
  readonly host: string;
  readonly port: number;
  /** Several processes share the port; the kernel spreads connections over them. */
  readonly shared?: boolean;
}

/** What answers beside the data plane is ready to. */
export async function prepare(app: NestFastifyApplication): Promise<void> {
  await app.init();
  await app.getHttpAdapter().getInstance().ready();
}

/** @throws PORT_TAKEN, PORT_DENIED, HOST_INVALID */
export async function listenAt(server: TcpServer, { host, port, shared = false }: ListenAt): Promise<number> {
  try {
    server.listen({ port, host, backlog: connectionsWaitingMax, reusePort: shared });
    await once(server, 'listening');
  } catch (cause) {
    throw listenError(cause, { host, port, portBy: '--port', hostBy: '--host' });
  }
  return (server.address() as AddressInfo).port;
}

/** Goes on with the socket of another process: who waits in its queue notices nothing. */
export async function listenOn(server: TcpServer, handle: object): Promise<number> {
  server.listen(handle, connectionsWaitingMax);
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}
