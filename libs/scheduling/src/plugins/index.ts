import type { Filter, Picker, Scorer } from '../contract.ts';
import { loadBand } from './filters/load-band/load-band.filter.ts';
import { loadImbalance } from './filters/load-imbalance/load-imbalance.filter.ts';
import { promptBucket } from './filters/prompt-bucket/prompt-bucket.filter.ts';
import { role } from './filters/role/role.filter.ts';
import { room } from './filters/room/room.filter.ts';
import { sloTarget } from './filters/slo-target/slo-target.filter.ts';
import { best } from './pickers/best/best.picker.ts';
import { random } from './pickers/random/random.picker.ts';
import { rotation } from './pickers/rotation/rotation.picker.ts';
import { twoChoices } from './pickers/two-choices/two-choices.picker.ts';
import { busyShare } from './scorers/busy-share/busy-share.scorer.ts';
import { kvUse } from './scorers/kv-use/kv-use.scorer.ts';
import { latency } from './scorers/latency/latency.scorer.ts';
import { load } from './scorers/load/load.scorer.ts';
import { noise } from './scorers/noise/noise.scorer.ts';
import { preble } from './scorers/preble/preble.scorer.ts';
import { pairFinish } from './scorers/pair-finish/pair-finish.scorer.ts';
import { predictedFinish } from './scorers/predicted-finish/predicted-finish.scorer.ts';
import { prefixHit } from './scorers/prefix-hit/prefix-hit.scorer.ts';
import { session } from './scorers/session/session.scorer.ts';
import { sloPack } from './scorers/slo-pack/slo-pack.scorer.ts';
import { tenantPlace } from './scorers/tenant-place/tenant-place.scorer.ts';
import { tokenLoad } from './scorers/token-load/token-load.scorer.ts';
import { tokenRate } from './scorers/token-rate/token-rate.scorer.ts';

/** Every plugin, one line for each folder beside this file; a test holds the list to the folders. */
export const filters: readonly Filter[] = [loadBand, loadImbalance, promptBucket, role, room, sloTarget];
export const scorers: readonly Scorer[] = [
  busyShare,
  kvUse,
  latency,
  load,
  noise,
  pairFinish,
  preble,
  predictedFinish,
  prefixHit,
  session,
  sloPack,
  tenantPlace,
  tokenLoad,
  tokenRate,
];
export const pickers: readonly Picker[] = [best, random, rotation, twoChoices];
