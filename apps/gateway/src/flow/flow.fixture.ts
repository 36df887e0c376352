import type { ServerResponse } from 'node:http';
import { create } from '@bufbuild/protobuf';
import { route, tenancy } from '#libs/contracts';
import { hashApiKey } from '#libs/domain/tenancy';
import { systemTimers } from '#libs/kernel';
import type { DataPlaneOptions } from '../serve/data-plane.ts';
import type { TestGateway } from '../serve/serve.fixture.ts';
import { chat, engine, gateway, post } from '../serve/serve.fixture.ts';

const patienceMs = 10_000;
const lookMs = 5;

async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (let waitedMs = 0; !(await holds()); waitedMs += lookMs) {
    if (waitedMs > patienceMs) throw new Error(`in vain: ${what}`);
    await systemTimers.sleep(lookMs);
  }
}

/** An engine that answers when the test says so. */
export class HeldEngine {
  origin = '';
  /** What each request was named, in the order in which they came. */
  readonly came: string[] = [];
  readonly #open: ServerResponse[] = [];

  static async start(): Promise<HeldEngine> {
    const held = new HeldEngine();
    held.origin = await engine((body, response) => {
      held.came.push((JSON.parse(body) as { name?: string }).name ?? '');
      held.#open.push(response);
    });
    return held;
  }

  /** Answers the oldest one. */
  answer(): void {
    const response = this.#open.shift();
    response?.writeHead(200, { 'content-type': 'application/json' });
    response?.end(JSON.stringify({ usage: { prompt_tokens: 10, completion_tokens: 5 } }));
  }

  /** Until so many have come. */
  async seen(count: number): Promise<readonly string[]> {
    await until(() => this.came.length >= count, `${count} requests at the engine`);
    return this.came;
  }

  /** Answers one after the other as they come, `total` in all. */
  async answerAll(total: number): Promise<readonly string[]> {
    for (let count = 1; count <= total; count++) {
      await this.seen(count);
      this.answer();
    }
    return this.came;
  }
}

export interface FlowGateway extends TestGateway {
  ask(name: string, tenant?: string, headers?: Record<string, string>, signal?: AbortSignal): Promise<Response>;
  /** Gives the tenant's key a priority. */
  prioritize(tenant: string, priority: number): void;
  /** Until so many wait. */
  waiting(count: number): Promise<void>;
}

/** A gateway whose one profile has this flow control; tenants are known by their names. */
export async function flowGateway(
  origins: readonly string[],
  flowControl: Record<string, number | Record<string, number>>,
  options: Partial<DataPlaneOptions> = {},
): Promise<FlowGateway> {
  const lintel = await gateway(origins, { open: false, ...options });
  for (const tenantId of ['acme', 'noisy', 'quiet']) {
    const keyHash = hashApiKey(tenantId);
    const key = create(tenancy.KeyIssuedSchema, { tenantId, keyId: tenantId, keyHash });
    lintel.state.tenancy.keysByHash.set(keyHash, [{ key, revoked: undefined }]);
  }
  lintel.state.route.policyByModel.set('tiny', {
    policy: create(route.RoutingPolicySchema, {
      policyId: 'p',
      models: ['tiny'],
      profiles: [{ name: 'queued', strategy: 'prefix-cache', routingConfig: { flowControl } }],
    }),
    source: 'test',
    version: 1,
    seq: 5,
    commitId: 'c',
  });
  return {
    ...lintel,
    ask: (name, tenant = 'acme', headers = {}, signal) =>
      post(lintel, chat({ name }), { authorization: `Bearer ${tenant}`, ...headers }, undefined, signal),
    prioritize: (tenant, priority) => {
      const issued = lintel.state.tenancy.keysByHash.get(hashApiKey(tenant))?.[0];
      if (issued !== undefined) issued.key.priority = priority;
    },
    waiting: (count) =>
      until(async () => {
        const text = await lintel.registry.metrics();
        const found = [...text.matchAll(/^lintel_gateway_queue_waiting\{[^}]*\} (\d+)/gm)];
        return found.reduce((total, [, value]) => total + Number(value), 0) === count;
      }, `${count} that wait`),
  };
}
