import { Agent, buildConnector } from 'undici';
import type { Timers } from '#libs/kernel';
import { CodedError } from '#libs/kernel';
import { secured } from '../edge/upstream-tls.ts';
import type { Fleet, FleetReplica } from '../fleet/fleet.ts';
import type { TokensLimits } from './limits.ts';

/** The tokens that an engine makes of a request; undefined where none can be asked. @throws where it answers otherwise */
export type EngineTokens = (model: string, path: string, body: Buffer) => Promise<readonly number[] | undefined>;

/** Asks the `/tokenize` of an engine of the model that has it (vLLM's `…/render` is off unless it was started for it). */
export function engineTokens(
  fleet: Fleet,
  timers: Timers,
  limits: TokensLimits,
): { ask: EngineTokens; stop(): Promise<void> } {
  const agents = new Map<FleetReplica, Agent>();
  const agentOf = (replica: FleetReplica): Agent => {
    let agent = agents.get(replica);
    if (agent === undefined) {
      for (const other of agents.values()) void other.destroy(); // another engine answers now
      agents.clear();
      agent = new Agent({ connections: 1, connect: buildConnector(secured(replica.trust)) });
      agents.set(replica, agent);
    }
    return agent;
  };
  const ask: EngineTokens = async (model, path, body) => {
    const replica = fleet
      .replicasFor(model)
      ?.find((each) => each.provider === undefined && each.routability() === 'ready');
    if (replica === undefined) return undefined;
    const abort = new AbortController();
    const late = timers.after(limits.checkMsMax, () => abort.abort(new Error(`no answer in ${limits.checkMsMax} ms`)));
    try {
      const answer = await agentOf(replica).request({
        origin: replica.origin,
        path: '/tokenize',
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          ...(replica.credential === undefined ? {} : { authorization: `Bearer ${replica.credential}` }),
        },
        body: path === '/v1/chat/completions' ? chatOf(body) : textOf(body),
        signal: abort.signal,
      });
      const text = await answer.body.text();
      if (answer.statusCode === 404 || answer.statusCode === 405) return undefined;
      const parsed = (answer.statusCode === 200 ? JSON.parse(text) : {}) as { tokens?: unknown };
      const { tokens } = parsed;
      if (Array.isArray(tokens)) return tokens as readonly number[];
      throw new CodedError('ENGINE_TOKENS', `${replica.id} answered ${answer.statusCode} and no tokens`);
    } finally {
      late.cancel();
    }
  };
  const stop = async (): Promise<void> => {
    await Promise.all([...agents.values()].map((agent) => agent.destroy()));
  };
  return { ask, stop };
}

/** A conversation as /tokenize takes it: what it has no field for goes in as arguments of the template, as chat does it. */
function chatOf(body: Buffer): string {
  const {
    documents,
    reasoning_effort: effort,
    chat_template_kwargs: given,
    ...rest
  } = JSON.parse(body.toString('utf8')) as Record<string, unknown>;
  const thinking = effort === undefined || effort === null ? {} : { enable_thinking: effort !== 'none' };
  const kwargs = {
    ...thinking,
    ...(given as object | null | undefined),
    ...(documents === undefined || documents === null ? {} : { documents }),
    ...(effort === undefined || effort === null ? {} : { reasoning_effort: effort }),
  };
  return JSON.stringify({ ...rest, chat_template_kwargs: kwargs });
}

/** The one prompt of a completion or embedding, as /tokenize takes it. */
function textOf(body: Buffer): string {
  const { model, prompt, input, add_special_tokens } = JSON.parse(body.toString('utf8')) as Record<string, unknown>;
  const given = prompt ?? input;
  return JSON.stringify({ model, prompt: Array.isArray(given) ? given[0] : given, add_special_tokens });
}
