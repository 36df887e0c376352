import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer as createTcpServer } from 'node:net';
import { route } from '#libs/contracts';
import { emptyRouteState } from '#libs/domain/route';
import { emptyTenancyState } from '#libs/domain/tenancy';
import { systemEnvironment } from '#libs/kernel';
import { createLogger, Registry } from '#libs/observability';
import type { RecordInput } from '#libs/recording';
import type { CandidateTable } from '#libs/scheduling';
import type { GatewayState } from '../control/state.ts';
import type { Fleet, FleetReplica, Routability, ServedModel } from '../fleet/fleet.ts';
import { serverOptions } from './client-errors.ts';
import type { DataPlane, DataPlaneOptions } from './data-plane.ts';
import { createDataPlane } from './data-plane.ts';

/** A replica that counts what is told to it. */
export class FakeReplica implements FleetReplica {
  readonly address: string;
  credential: string | undefined;
  labels: Record<string, string> = {};
  engine: route.EngineKind = route.EngineKind.VLLM;
  role: route.ReplicaRole = route.ReplicaRole.COMBINED;
  roleset = '';
  state: Routability = 'ready';
  inflight = 0;
  workElsewhere = undefined;
  began = 0;
  readonly ends: route.AttemptEnd[] = [];

  constructor(
    readonly id: string,
    readonly origin: string,
  ) {
    this.address = new URL(origin).host;
  }

  routability(): Routability {
    return this.state;
  }

  describe(table: CandidateTable, row: number): void {
    table.set(row, 'inflight', this.inflight);
  }

  adapterResident(): number {
    return Number.NaN;
  }

  adapterSent(): void {}

  begin(): void {
    this.began++;
    this.inflight++;
  }

  end(end: route.AttemptEnd): void {
    this.inflight--;
    this.ends.push(end);
  }
}

export class FakeFleet implements Fleet {
  settling = false;
  readonly served: ServedModel[] = [{ id: 'tiny', parent: undefined, maxModelLen: 4096 }];

  constructor(public replicas: FakeReplica[]) {}

  models(): readonly ServedModel[] {
    return this.served;
  }

  model(id: string): ServedModel | undefined {
    return this.served.find((model) => model.id === id);
  }

  replicasFor(model: string): readonly FleetReplica[] | undefined {
    return this.model(model) === undefined ? undefined : this.replicas;
  }
}

const cleanups: (() => Promise<void> | void)[] = [];

/** For afterEach: closes all that was opened. */
export async function closeAll(): Promise<void> {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
}

/** Is called by `closeAll`. */
export function afterwards(cleanup: () => Promise<void> | void): void {
  cleanups.push(cleanup);
}

async function listening(server: Server | ReturnType<typeof createTcpServer>): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

function closing(server: Server): () => Promise<void> {
  return () =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
}

/** An engine that answers by this handler, once the whole body is there. Gives its origin. */
export async function engine(
  handler: (body: string, response: ServerResponse, request: IncomingMessage) => void,
): Promise<string> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => handler(Buffer.concat(chunks).toString(), response, request));
    request.on('error', () => {});
  });
  cleanups.push(closing(server));
  return `http://127.0.0.1:${await listening(server)}`;
}

/** An engine that writes what it likes, after it has read something of each connection. */
export async function rawEngine(onData: (socket: Socket, data: string, connection: number) => void): Promise<string> {
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = createTcpServer((socket) => {
    const connection = connections++;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    socket.on('data', (data) => onData(socket, data.toString('latin1'), connection));
  });
  const port = await listening(server);
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(() => resolve()));
  });
  return `http://127.0.0.1:${port}`;
}

/** An origin where nobody listens. */
export async function deadOrigin(): Promise<string> {
  const server = createTcpServer();
  const port = await listening(server);
  await new Promise((resolve) => server.close(resolve));
  return `http://127.0.0.1:${port}`;
}

export interface TestGateway {
  readonly url: string;
  readonly port: number;
  readonly plane: DataPlane;
  readonly fleet: FakeFleet;
  readonly state: GatewayState;
  readonly records: RecordInput[];
  readonly registry: Registry;
  /** The first record, once its request has ended. */
  record(): Promise<RecordInput>;
}

/** A data plane on a port of its own over these replicas; open unless said otherwise. */
export async function gateway(
  origins: readonly string[],
  options: Partial<DataPlaneOptions> & { recording?: boolean } = {},
): Promise<TestGateway> {
  const fleet = new FakeFleet(origins.map((origin, index) => new FakeReplica(`r${index + 1}`, origin)));
  const state: GatewayState = { route: emptyRouteState(), routeSeq: 7, tenancy: emptyTenancyState(), tenancySeq: 9 };
  const records: RecordInput[] = [];
  const registry = new Registry();
  const waiting: ((record: RecordInput) => void)[] = [];
  const plane = createDataPlane({
    fleet,
    state: () => state,
    record:
      options.recording === false
        ? undefined
        : (record) => {
            records.push(record);
            for (const resolve of waiting.splice(0)) resolve(record);
          },
    environment: systemEnvironment,
    logger: createLogger({ name: 'test', level: 'silent' }),
    metrics: registry,
    open: true,
    compat: undefined,
    ...options,
    limits: { sweepPeriodMs: 20, ...options.limits },
  });
  const server = createServer(serverOptions, (request, response) => {
    if (!plane.handle(request, response)) response.writeHead(404).end('framework');
  });
  plane.attach(server);
  const { front } = options.edge ?? {};
  front?.behind({
    http1: (socket) => plane.front.accept(socket),
    late: (response) => plane.late(response),
    serve: (request, response) => void (plane.handle(request, response) || response.writeHead(404).end('framework')),
  });
  const listener = front?.listener ?? plane.front.tcpServer();
  const port = await listening(listener);
  cleanups.push(async () => {
    await plane.drain(0);
    const closed = new Promise((resolve) => listener.close(resolve));
    plane.front.destroyAll();
    front?.close();
    server.closeAllConnections();
    await closed;
  });
  const record = (): Promise<RecordInput> =>
    records[0] === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(records[0]);
  return { url: `http://127.0.0.1:${port}`, port, plane, fleet, state, records, registry, record };
}

export const chat = (more: Record<string, unknown> = {}): string =>
  JSON.stringify({ model: 'tiny', messages: [{ role: 'user', content: 'Hello' }], ...more });

export const post = (
  { url }: TestGateway,
  body: string | Uint8Array<ArrayBuffer>,
  headers: Record<string, string> = {},
  path = '/v1/chat/completions',
  signal?: AbortSignal,
): Promise<Response> =>
  fetch(url + path, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json', ...headers },
    ...(signal === undefined ? {} : { signal }),
  });

export interface ErrorBody {
  readonly error: { message: string; type: string; param: string | null; code: string };
}

export const errorOf = async (response: Response): Promise<ErrorBody['error']> =>
  ((await response.json()) as ErrorBody).error;

/** Sends these bytes over a connection of its own and gives back all that came until it closed, or for `quietMs` nothing. */
export function rawExchange(port: number, parts: readonly string[], quietMs = 300): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let received = '';
    socket.setTimeout(quietMs, () => socket.destroy());
    socket.on('data', (data) => (received += data.toString('latin1')));
    socket.on('error', () => {});
    socket.on('close', () => resolve(received));
    for (const part of parts) socket.write(part, 'latin1');
  });
}

export const sse = (...events: readonly unknown[]): string =>
  events.map((event) => `data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`).join('');

export const token = (content: string): unknown => ({
  object: 'chat.completion.chunk',
  choices: [{ delta: { content } }],
});

/** What a real vLLM 0.32 answered: the text of a JSON answer or of a stream. */
export function recordedAnswer(name: string): string {
  const file = join(import.meta.dirname, '../../../../libs/engines/fixtures/vllm-0.32', `${name}.json`);
  const { response } = JSON.parse(readFileSync(file, 'utf8')) as { response: { body: unknown } };
  return Array.isArray(response.body) ? response.body.join('\n') : JSON.stringify(response.body);
}
