import type { Rng } from '#libs/kernel';
import type { FleetReplica } from '../../fleet/fleet.ts';
import { targetOf } from '../upstream/pool.ts';
import type { BodyFields, Edit } from './body-fields.ts';
import { edited } from './body-fields.ts';
import type { Connector, HandoverIds } from './connectors.ts';
import { traitsOf } from './traits.ts';

/** One hand-over of one request: what each side is sent. */
export interface HandoverPlan {
  readonly connector: Connector;
  readonly ids: HandoverIds;
  readonly fields: BodyFields;
}

const numberMin = 2 ** 42;

/** Undefined where the prefill side is of no connector that is known: its registration changed since it was chosen. */
export function planOf(
  fields: BodyFields,
  prefill: FleetReplica,
  requestId: string,
  rng: Rng,
): HandoverPlan | undefined {
  const { connector, bootstrapPort, engineId } = traitsOf(prefill);
  if (connector === undefined) return undefined;
  // 53 bits, so that every JSON parser reads the same number.
  const drawn = rng.uint32() * 2 ** 21 + (rng.uint32() >>> 11);
  const number = numberMin + (drawn % (2 ** 53 - numberMin));
  return {
    connector,
    fields,
    ids: { host: targetOf(prefill.origin).host, bootstrapPort, engineId, requestId, number },
  };
}

export const prefillBody = ({ connector, fields, ids }: HandoverPlan, more: readonly Edit[]): Buffer =>
  edited(fields.json, [...connector.prefill(fields, ids), ...more]);

/** The decode side's body; undefined where the prefill side left nothing to take over. */
export function decodeBody(
  { connector, fields, ids }: HandoverPlan,
  answer: Buffer | undefined,
  more: readonly Edit[],
): Buffer | undefined {
  const edits = connector.decode(fields, ids, answer);
  return edits === undefined ? undefined : edited(fields.json, [...edits, ...more]);
}
