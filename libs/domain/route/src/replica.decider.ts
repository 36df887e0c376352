import type { MessageInitShape } from '@bufbuild/protobuf';
import { create, equals } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import type { Decider } from '#libs/event-log';
import { CodedError } from '#libs/kernel';
import { checkProvider } from './provider.ts';

type Registration = MessageInitShape<typeof route.ReplicaRegisteredSchema>;
type Ejection = MessageInitShape<typeof route.ReplicaEjectedSchema>;
type Readmission = MessageInitShape<typeof route.ReplicaReadmittedSchema>;
type Warming = MessageInitShape<typeof route.ReplicaWarmedSchema>;

export type ReplicaCommand =
  | { readonly type: 'RegisterReplica'; readonly replica: Registration }
  | {
      readonly type: 'DrainReplica' | 'ResumeReplica' | 'RemoveReplica';
      readonly replicaId: string;
      readonly reason: string;
    }
  | { readonly type: 'EjectReplica'; readonly ejection: Ejection }
  | { readonly type: 'ReadmitReplica'; readonly readmission: Readmission }
  /** What a gateway had it compute ahead. */
  | { readonly type: 'RecordWarming'; readonly warming: Warming };

interface Said {
  readonly replicaId: string;
  readonly reason: string;
}

export type ReplicaEvent =
  | { readonly type: 'ReplicaRegistered'; readonly data: Registration }
  | { readonly type: 'ReplicaDrained' | 'ReplicaResumed' | 'ReplicaRemoved'; readonly data: Said }
  | { readonly type: 'ReplicaEjected'; readonly data: Ejection }
  | { readonly type: 'ReplicaReadmitted'; readonly data: Readmission }
  | { readonly type: 'ReplicaWarmed'; readonly data: Warming };

export interface ReplicaState {
  /** Undefined before the first registration and after a removal. */
  readonly registration: route.ReplicaRegistered | undefined;
  readonly draining: boolean;
  /** Gateways that hold it out of their routing now. */
  readonly ejectedBy: readonly string[];
}

const absent: ReplicaState = { registration: undefined, draining: false, ejectedBy: [] };

/** One engine process that can be routed to: lintel.ev.route.replica.<id>. */
export const replica: Decider<ReplicaState, ReplicaCommand, ReplicaEvent> = {
  context: 'route',
  aggregate: 'replica',
  initial: absent,
  decide(state, command) {
    switch (command.type) {
      case 'RegisterReplica': {
        checkUrl('url', command.replica.url ?? '');
        checkProvider(command.replica);
        if (command.replica.metricsUrl) checkUrl('metricsUrl', command.replica.metricsUrl);
        const wanted = create(route.ReplicaRegisteredSchema, command.replica);
        const same = state.registration && equals(route.ReplicaRegisteredSchema, state.registration, wanted);
        return same ? [] : [{ type: 'ReplicaRegistered', data: command.replica }];
      }
      case 'DrainReplica':
        known(state, command.replicaId);
        return state.draining ? [] : [{ type: 'ReplicaDrained', data: said(command) }];
      case 'ResumeReplica':
        known(state, command.replicaId);
        return state.draining ? [{ type: 'ReplicaResumed', data: said(command) }] : [];
      case 'RemoveReplica':
        return state.registration === undefined ? [] : [{ type: 'ReplicaRemoved', data: said(command) }];
      case 'EjectReplica': {
        const { replicaId = '', gatewayId = '' } = command.ejection;
        known(state, replicaId);
        return state.ejectedBy.includes(gatewayId) ? [] : [{ type: 'ReplicaEjected', data: command.ejection }];
      }
      case 'ReadmitReplica': {
        const { gatewayId = '' } = command.readmission;
        return state.ejectedBy.includes(gatewayId) ? [{ type: 'ReplicaReadmitted', data: command.readmission }] : [];
      }
      case 'RecordWarming':
        known(state, command.warming.replicaId ?? '');
        return [{ type: 'ReplicaWarmed', data: command.warming }];
    }
  },
  evolve(state, event) {
    switch (event.type) {
      case 'ReplicaRegistered':
        return { ...state, registration: create(route.ReplicaRegisteredSchema, event.data) };
      case 'ReplicaDrained':
        return { ...state, draining: true };
      case 'ReplicaResumed':
        return { ...state, draining: false };
      case 'ReplicaRemoved':
        return absent;
      case 'ReplicaEjected':
        return { ...state, ejectedBy: [...without(state.ejectedBy, event.data.gatewayId), event.data.gatewayId ?? ''] };
      case 'ReplicaReadmitted':
        return { ...state, ejectedBy: without(state.ejectedBy, event.data.gatewayId) };
      case 'ReplicaWarmed':
        return state;
    }
  },
};

const said = ({ replicaId, reason }: Said): Said => ({ replicaId, reason });

const without = (gateways: readonly string[], gatewayId = ''): string[] =>
  gateways.filter((other) => other !== gatewayId);

function known(state: ReplicaState, replicaId: string): void {
  if (state.registration !== undefined) return;
  throw new CodedError('ROUTE_REPLICA_UNKNOWN', `there is no replica ${replicaId}`, {
    advice: 'lintel get replicas lists them.',
  });
}

function checkUrl(field: string, text: string): void {
  const url = URL.parse(text);
  const isOrigin = url !== null && (url.protocol === 'http:' || url.protocol === 'https:') && url.origin === text;
  if (isOrigin) return;
  throw new CodedError('ROUTE_REPLICA_URL_INVALID', `${field} ${JSON.stringify(text.slice(0, 200))} is not an origin`, {
    advice: 'Give scheme, host and port without a trailing slash: http://127.0.0.1:8000.',
  });
}
