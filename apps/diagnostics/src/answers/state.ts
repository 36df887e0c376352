import type { FleetState, StateAnswer, StateJson } from '#libs/domain/diag';
import { diffStates, emptyFleetState, evolveFleet, stateJson } from '#libs/domain/diag';
import { Acceptor, decodeCommit } from '#libs/event-log';
import { CodedError, errorText } from '#libs/kernel';
import type { Core } from '../core.ts';
import { Slices } from '../slices.ts';
import { commitAt } from './read-log.ts';
import { placeOf } from './moments.ts';

type Place = StateAnswer['at'];

/** The fleet as the log says it was, and what changed to another moment. @throws MOMENT_INVALID · STATE_UNREADABLE */
export async function stateAt(core: Core, at: string | undefined, diff: string | undefined): Promise<StateAnswer> {
  const { durability } = core.broker;
  if (at === undefined && diff === undefined) {
    const { state, seq } = await core.fold.at();
    const json = stateJson(state.fleet);
    return {
      durability,
      at: { seq, storedAtMs: (await commitAt(core.broker.log, seq))?.storedAtMs ?? null },
      state: json,
    };
  }
  return await core.longAnswers.run(async () => {
    const wanted = await placeOf(core, at ?? 'now');
    if (diff === undefined) return { durability, at: wanted, state: (await statesAt(core, [wanted]))[0] as StateJson };
    const other = await placeOf(core, diff);
    const order = [wanted, other].sort((a, b) => a.seq - b.seq);
    const [before, after] = (await statesAt(core, order)) as [StateJson, StateJson];
    const state = order[0] === wanted ? before : after;
    return { durability, at: wanted, state, diffWith: other, changes: diffStates(before, after) };
  });
}

/** Folds once and tells the state at each place, which stand in order. */
async function statesAt({ broker, registry, environment }: Core, places: readonly Place[]): Promise<StateJson[]> {
  const acceptor = new Acceptor();
  const slices = new Slices(environment.timers);
  const told: StateJson[] = [];
  let state: FleetState = emptyFleetState();
  let folded = 0;
  for (const { seq } of places) {
    if (seq > folded) {
      for await (const commit of broker.log.read({ fromSeq: folded + 1, toSeq: seq })) {
        if (acceptor.accept(commit) === 'accepted') {
          try {
            state = evolveFleet(state, decodeCommit(commit, registry));
          } catch (thrown) {
            throw new CodedError('STATE_UNREADABLE', `sequence ${commit.seq}: ${errorText(thrown)}`, {
              advice: 'Run lintel verify; an event of a newer version needs a newer diagnostics.',
              cause: thrown,
            });
          }
        }
        await slices.next();
      }
      folded = seq;
    }
    told.push(stateJson(state));
  }
  return told;
}
