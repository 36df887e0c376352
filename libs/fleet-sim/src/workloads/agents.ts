import type { SeededRng } from '#libs/kernel';
import { between, exponential, logNormal } from '../draws.ts';
import type { Segment } from '../request.ts';
import type { SessionKind, Turn } from './sessions.ts';
import { SessionSource } from './sessions.ts';

const agentKinds = 6;
const systemTokens = 3_000;
const turnsMin = 2;
const turnsMax = 14;

/**
 * Agents that call tools: a few kinds of agent with a long system prompt each, a task, then turn after turn what the tool said. All
 * numbers are our own choice.
 */
function agentKind(): SessionKind {
  const systems: Segment[] = [];
  return {
    name: 'agents',
    slo: { ttftMs: 500, tpotMs: 30 },
    gap: (rng) => exponential(rng, 1),
    session(rng: SeededRng, take) {
      while (systems.length < agentKinds) systems.push(take(systemTokens));
      const system = systems[rng.below(agentKinds)] as Segment;
      const turns = Array.from({ length: between(rng, turnsMin, turnsMax) }, (_, turn): Turn => {
        const said = take(logNormal(rng, turn === 0 ? 500 : 700, 2.2, 20, 8_000));
        return {
          added: turn === 0 ? [system, said] : [said],
          outputTokens: logNormal(rng, 120, 2, 8, 1_000),
          thinkMs: exponential(rng, 1_500),
        };
      });
      return { tenant: 'agents', turns };
    },
  };
}

export const agents = new SessionSource(agentKind);
