import type { MessageInitShape } from '@bufbuild/protobuf';
import { create } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import type { Decider } from '#libs/event-log';

type Applied = MessageInitShape<typeof route.ConfigurationAppliedSchema>;

export interface ConfigurationCommand {
  readonly type: 'RecordConfiguration';
  readonly configuration: Applied;
}

export interface ConfigurationEvent {
  readonly type: 'ConfigurationApplied';
  readonly data: Applied;
}

export interface ConfigurationState {
  readonly contentHash: string;
  readonly source: string;
}

/** Which document is in force, for the reader of the log: lintel.ev.route.configuration.<id>. */
export const configuration: Decider<ConfigurationState, ConfigurationCommand, ConfigurationEvent> = {
  context: 'route',
  aggregate: 'configuration',
  initial: { contentHash: '', source: '' },
  decide(state, { configuration }) {
    const same = state.contentHash === configuration.contentHash && state.source === configuration.source;
    return same ? [] : [{ type: 'ConfigurationApplied', data: configuration }];
  },
  evolve(_state, event) {
    const { contentHash, source } = create(route.ConfigurationAppliedSchema, event.data);
    return { contentHash, source };
  },
};
