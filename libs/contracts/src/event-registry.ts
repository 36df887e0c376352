import type { DescMessage, JsonObject, MessageShape } from '@bufbuild/protobuf';
import { create, fromJson, toJson } from '@bufbuild/protobuf';
import { CodedError, errorText } from '#libs/kernel';
import * as route from './gen/lintel/route/v1/events_pb.ts';
import * as tenancy from './gen/lintel/tenancy/v1/events_pb.ts';

/** An event type with the schema level of its context at which it first appeared. */
export interface EventType<D extends DescMessage = DescMessage> {
  readonly context: string;
  readonly aggregate: string;
  readonly type: string;
  readonly sinceLevel: number;
  readonly schema: D;
}

function event<D extends DescMessage>(context: string, aggregate: string, sinceLevel: number, schema: D): EventType<D> {
  return { context, aggregate, type: schema.name, sinceLevel, schema };
}

/**
 * Every event type that was ever written. A new type takes the next level of its context; nothing is ever removed.
 * A writer uses a type only when each live reader has announced that level.
 */
export const eventTypes = [
  event('route', 'replica', 1, route.ReplicaRegisteredSchema),
  event('route', 'replica', 1, route.ReplicaDrainedSchema),
  event('route', 'replica', 1, route.ReplicaResumedSchema),
  event('route', 'replica', 1, route.ReplicaRemovedSchema),
  event('route', 'replica', 1, route.ReplicaEjectedSchema),
  event('route', 'replica', 1, route.ReplicaReadmittedSchema),
  event('route', 'policy', 1, route.PolicyAdoptedSchema),
  event('route', 'policy', 1, route.PolicyRetiredSchema),
  event('route', 'configuration', 1, route.ConfigurationAppliedSchema),
  event('route', 'modelroute', 2, route.ModelRouteSetSchema),
  event('route', 'modelroute', 2, route.ModelRouteRemovedSchema),
  event('route', 'wake', 3, route.WakeRequestedSchema),
  event('route', 'replica', 4, route.ReplicaWarmedSchema),
  event('tenancy', 'tenant', 1, tenancy.TenantRegisteredSchema),
  event('tenancy', 'tenant', 1, tenancy.TenantRemovedSchema),
  event('tenancy', 'tenant', 1, tenancy.KeyIssuedSchema),
  event('tenancy', 'tenant', 1, tenancy.KeyRevokedSchema),
  event('tenancy', 'tenant', 2, tenancy.LimitsSetSchema),
  event('tenancy', 'tenant', 3, tenancy.KeyRotatedSchema),
  event('tenancy', 'tenant', 3, tenancy.ProjectRegisteredSchema),
  event('tenancy', 'tenant', 3, tenancy.ProjectRemovedSchema),
  event('tenancy', 'tenant', 3, tenancy.UserRegisteredSchema),
  event('tenancy', 'tenant', 3, tenancy.UserRemovedSchema),
  event('tenancy', 'admin', 3, tenancy.AdminKeyIssuedSchema),
  event('tenancy', 'admin', 3, tenancy.AdminKeyRevokedSchema),
  event('tenancy', 'quota', 2, tenancy.QuotaLeasedSchema),
  event('tenancy', 'quota', 2, tenancy.QuotaReturnedSchema),
  event('tenancy', 'quota', 2, tenancy.SlotsLeasedSchema),
  event('tenancy', 'prices', 4, tenancy.PricesSetSchema),
  event('tenancy', 'budget', 4, tenancy.SpendReportedSchema),
  event('tenancy', 'budget', 4, tenancy.BudgetReachedSchema),
] as const satisfies readonly EventType[];

/** Looks event types up and turns their data to and from the ProtoJSON that stands in the log. */
export class EventRegistry {
  readonly #byName = new Map<string, EventType>();

  constructor(types: readonly EventType[] = eventTypes) {
    for (const type of types) this.#byName.set(`${type.context}/${type.type}`, type);
  }

  find(context: string, type: string): EventType | undefined {
    return this.#byName.get(`${context}/${type}`);
  }

  /** The highest level known for each context: what a reader built from this registry can read. */
  levels(): Record<string, number> {
    const levels: Record<string, number> = {};
    for (const { context, sinceLevel } of this.#byName.values()) {
      levels[context] = Math.max(levels[context] ?? 0, sinceLevel);
    }
    return levels;
  }

  /** @throws EVENT_TYPE_UNKNOWN, EVENT_DATA_INVALID */
  encode(context: string, type: string, data: object): JsonObject {
    const known = this.#require(context, type);
    try {
      const message = '$typeName' in data ? data : create(known.schema, data as never);
      return toJson(known.schema, message as MessageShape<DescMessage>) as JsonObject;
    } catch (cause) {
      throw new CodedError('EVENT_DATA_INVALID', `${context}.${type}: ${errorText(cause)}`, { cause });
    }
  }

  /** Unknown fields of a newer writer are ignored. @throws EVENT_TYPE_UNKNOWN, EVENT_DATA_INVALID */
  decode(context: string, type: string, data: JsonObject): MessageShape<DescMessage> {
    const known = this.#require(context, type);
    try {
      return fromJson(known.schema, data, { ignoreUnknownFields: true });
    } catch (cause) {
      throw new CodedError('EVENT_DATA_INVALID', `${context}.${type}: ${errorText(cause)}`, { cause });
    }
  }

  #require(context: string, type: string): EventType {
    const known = this.find(context, type);
    if (known !== undefined) return known;
    throw new CodedError('EVENT_TYPE_UNKNOWN', `no event type ${type} in context ${context}`, {
      advice: 'This reader is older than the writer: upgrade it, or add the type to eventTypes.',
    });
  }
}
