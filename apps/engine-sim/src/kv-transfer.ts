import { request as httpRequest } from 'node:http';
import type { SequenceView } from '#libs/engine-model';
import { errorText } from '#libs/kernel';
import { ApiError } from './errors.ts';
import type { Exchange } from './http.ts';
import type { Sim } from './sim.ts';
import type { Body } from './validate.ts';

/** A prefill engine that does not answer is given up after this. */
const remoteMsMax = 5000;

export interface Handover {
  /** Prompt tokens whose KV comes from a prefill engine. */
  readonly remoteTokens: number | undefined;
  /** Keep the blocks for a decode engine. */
  readonly hold: boolean;
}

const none: Handover = { remoteTokens: undefined, hold: false };

type Params = Record<string, unknown>;

/** What the request says of a hand-over; fetches the KV when this is the decode side. An engine without a connector ignores it. */
export async function handoverOf(sim: Sim, body: Body): Promise<Handover> {
  const params = body['kv_transfer_params'];
  if (!sim.settings.kvTransfer || typeof params !== 'object' || params === null) return none;
  const given = params as Params;
  if (given['do_remote_decode'] === true) return { remoteTokens: undefined, hold: true };
  if (given['do_remote_prefill'] !== true) return none;
  const tokens = await fetchRemote(sim, given);
  return { remoteTokens: tokens, hold: false };
}

/** What the prefill side answers for the decode side. */
export function transferParams(
  sim: Sim,
  exchange: Exchange,
  hold: boolean,
  view: SequenceView,
  id: string,
): Params | null {
  if (!hold || view.blockIds.length === 0) return null;
  // The address by which the client came: its own may be a wildcard, which nobody can reach.
  const host = (exchange.request.socket.localAddress ?? sim.settings.host).replace(/^::ffff:/, '');
  return {
    do_remote_prefill: true,
    do_remote_decode: false,
    remote_block_ids: [[...view.blockIds]],
    remote_engine_id: `sim-${host}:${sim.address.port}`,
    remote_request_id: `${id}-${view.id}`,
    remote_host: host,
    remote_port: sim.address.port,
    tp_size: 1,
    dcp_size: 1,
    pp_size: 1,
    remote_num_tokens: view.request.prompt.length,
    remote_blocks_expiry_time: null,
    transfer_mode: 'read',
  };
}

/** The prefill side's answer to a fetch: the blocks are read once and freed. */
export function releaseHeld(sim: Sim, body: Body): void {
  const id = Number(
    String(body['request_id'] ?? '')
      .split('-')
      .at(-1),
  );
  if (!sim.engine.release(id)) {
    throw new ApiError(404, `No KV is held for ${String(body['request_id'])}.`, 'NotFoundError');
  }
}

function fetchRemote(sim: Sim, params: Params): Promise<number> {
  const tokens = params['remote_num_tokens'];
  const failed = (why: string): ApiError =>
    new ApiError(500, `KV transfer from the prefill engine failed: ${why}`, 'InternalServerError');
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const call = httpRequest({
    host: String(params['remote_host']),
    port: Number(params['remote_port']),
    method: 'POST',
    path: '/sim/kv/release',
    headers: { 'content-type': 'application/json' },
  });
  const deadline = sim.settings.environment.timers.after(remoteMsMax, () => {
    call.destroy(new Error(`no answer within ${remoteMsMax} ms`));
  });
  call.on('response', (response) => {
    response.resume();
    deadline.cancel();
    if (response.statusCode === 200) resolve(typeof tokens === 'number' ? tokens : 0);
    else reject(failed(`it answered ${response.statusCode}`));
  });
  call.on('error', (error) => {
    deadline.cancel();
    reject(failed(errorText(error)));
  });
  call.end(JSON.stringify({ request_id: params['remote_request_id'] }));
  return promise;
}
