import type { Filter, Picker, Scorer } from '../contract.ts';
import { loadBand } from './filters/load-band/load-band.filter.ts';
import { loadImbalance } from './filters/load-imbalance/load-imbalance.filter.ts';
import { best } from './pickers/best/best.picker.ts';
import { random } from './pickers/random/random.picker.ts';
import { rotation } from './pickers/rotation/rotation.picker.ts';
import { twoChoices } from './pickers/two-choices/two-choices.picker.ts';
import { kvUse } from './scorers/kv-use/kv-use.scorer.ts';
import { load } from './scorers/load/load.scorer.ts';
import { noise } from './scorers/noise/noise.scorer.ts';
import { prefixHit } from './scorers/prefix-hit/prefix-hit.scorer.ts';
import { session } from './scorers/session/session.scorer.ts';

/** Every plugin, one line for each folder beside this file; a test holds the list to the folders. */
export const filters: readonly Filter[] = [loadBand, loadImbalance];
export const scorers: readonly Scorer[] = [kvUse, load, noise, prefixHit, session];
export const pickers: readonly Picker[] = [best, random, rotation, twoChoices];
