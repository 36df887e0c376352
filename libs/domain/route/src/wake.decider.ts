import { createHash } from 'node:crypto';
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { route } from '#libs/contracts';
import type { Decider } from '#libs/event-log';

/** lintel.route.v1.WakeRequested without its end. */
export interface Wake {
  readonly model: string;
  readonly gatewayId?: string;
  readonly replicas?: Readonly<Record<string, number>>;
  readonly asleep?: readonly string[];
  readonly waiting?: number;
  readonly atMs: number;
}

export interface WakeCommand {
  readonly type: 'RequestWake';
  readonly wake: Wake;
  /** For so long nobody asks again. */
  readonly holdMs: number;
}

export interface WakeEvent {
  readonly type: 'WakeRequested';
  readonly data: MessageInitShape<typeof route.WakeRequestedSchema>;
}

export interface WakeState {
  /** By the writer's clock; 0 before the first. */
  readonly untilMs: number;
}

/** Names of models have characters that no subject has. */
export const wakeIdOf = (model: string): string => createHash('sha256').update(model).digest('hex').slice(0, 32);

/** That a model is wanted of which no replica takes requests: once in a while, however many gateways see it. */
export const wake: Decider<WakeState, WakeCommand, WakeEvent> = {
  context: 'route',
  aggregate: 'wake',
  initial: { untilMs: 0 },
  decide(state, { wake: asked, holdMs }) {
    // A clock that was far ahead must not silence the model for good.
    if (asked.atMs < state.untilMs && state.untilMs <= asked.atMs + holdMs) return [];
    return [
      { type: 'WakeRequested', data: { ...asked, asleep: [...(asked.asleep ?? [])], untilMs: asked.atMs + holdMs } },
    ];
  },
  evolve: (_state, { data }) => ({ untilMs: data.untilMs ?? 0 }),
};
