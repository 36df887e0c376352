import { expect, test } from '@jest/globals';
import { EventRegistry } from '#libs/contracts';
import type { Decider, DomainEvent } from '#libs/event-log';
import { errorCode, errorText } from '#libs/kernel';

interface Then<State, Command, Event> {
  /** The command gives exactly these events, each of which has its place in the contracts. */
  then(...events: Event[]): Given<State, Command, Event>;
  /** The command asks for what is so already. */
  thenNothing(): Given<State, Command, Event>;
  /** The command is refused with this code. */
  thenRefuses(code: string): Given<State, Command, Event>;
  /** What the state is once the events of the command are folded too. */
  thenState(check: (state: State) => void): Given<State, Command, Event>;
}

interface Given<State, Command, Event> {
  given(...events: Event[]): { when(command: Command): Then<State, Command, Event> };
}

/**
 * A decider's rules as a table: each `given … when … then …` line is one Jest test, named by what it says. Call it inside
 * `describe`. A domain event is compared by type and data.
 */
export function spec<State, Command, Event extends DomainEvent>(
  decider: Decider<State, Command, Event>,
  registry: EventRegistry = new EventRegistry(),
): Given<State, Command, Event> {
  const fold = (events: readonly Event[], state = decider.initial): State =>
    events.reduce((folded, event) => decider.evolve(folded, event), state);
  const table: Given<State, Command, Event> = {
    given: (...events) => ({
      when(command) {
        const title = `given ${names(events)} when ${nameOf(command)}`;
        const rule = (then: string, run: () => void): Given<State, Command, Event> => {
          test(`${title} then ${then}`, run);
          return table;
        };
        const decide = (): readonly Event[] => decider.decide(fold(events), command);
        return {
          // oxlint-disable-next-line unicorn/no-thenable -- given/when/then reads so; nobody awaits a table
          then: (...expected) =>
            rule(names(expected), () => {
              const decided = decide();
              expect(decided).toEqual(expected);
              for (const { type, data } of decided) registry.encode(decider.context, type, data);
            }),
          thenNothing: () => rule('nothing', () => expect(decide()).toEqual([])),
          thenRefuses: (code) =>
            rule(`refuses ${code}`, () => {
              let outcome = 'no refusal';
              try {
                outcome = `events ${names(decide())}`;
              } catch (thrown) {
                outcome = errorCode(thrown) === 'UNKNOWN' ? errorText(thrown) : errorCode(thrown);
              }
              expect(outcome).toBe(code);
            }),
          thenState: (check) => rule('the state fits', () => check(fold(decide(), fold(events)))),
        };
      },
    }),
  };
  return table;
}

const names = (events: readonly DomainEvent[]): string =>
  events.length === 0 ? 'nothing' : events.map(({ type }) => type).join(', ');

function nameOf(command: unknown): string {
  const type = (command as { type?: unknown } | null)?.type;
  return typeof type === 'string' ? type : JSON.stringify(command);
}
