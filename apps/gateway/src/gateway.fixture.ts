import { fromBinary } from '@bufbuild/protobuf';
import { createServer } from 'node:net';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { route } from '#libs/contracts';
import type { Broker } from '#libs/event-log';
import type { DesiredConfiguration } from '#libs/nest-kit';

export const chat = async (url: string, body: object = {}, headers: Record<string, string> = {}): Promise<Response> =>
  await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ model: 'tiny', messages: [{ role: 'user', content: 'hi' }], ...body }),
  });

export const desired = (
  replicas: DesiredConfiguration['replicas'],
  more: Partial<DesiredConfiguration> = {},
): DesiredConfiguration => ({ replicas, policies: [], tenants: [], ...more });

/** All records in the stream from one gateway. */
export async function recordsOf(broker: Broker, gatewayId?: string): Promise<route.DecisionRecord[]> {
  const records: route.DecisionRecord[] = [];
  if ((await broker.frames.lastSeq()) === 0) return records;
  for await (const { bytes } of broker.frames.read({ fromSeq: 1 })) {
    const frame = fromBinary(route.RecordFrameSchema, bytes);
    if (gatewayId === undefined || frame.gatewayId === gatewayId) records.push(...frame.records);
  }
  return records;
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

interface Ready {
  readonly ready: boolean;
  readonly state: string;
  readonly dependencies: Record<string, { readonly state: string; readonly detail?: string }>;
}

export const ready = async (url: string): Promise<Ready> => (await (await fetch(`${url}/ready`)).json()) as Ready;
