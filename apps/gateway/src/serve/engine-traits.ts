import { route } from '#libs/contracts';
import type { FleetReplica } from '../fleet/fleet.ts';

const usageKinds = new Set<route.EngineKind>([route.EngineKind.VLLM, route.EngineKind.SGLANG]);
/** A replica's label that says whether it may be asked for usage, whatever its engine is. */
const usageLabel = 'lintel.stream-usage';

/** Engines known to take `stream_options.include_usage`. */
export function tellsUsage({ engine, labels }: FleetReplica): boolean {
  const label = labels[usageLabel];
  return label === undefined ? usageKinds.has(engine) : label === 'on';
}

/** Engines that go on with the last message of a chat when asked to (`continue_final_message`). */
export const takesTextToGoOn = ({ engine }: FleetReplica): boolean => usageKinds.has(engine);
