import type { Projection } from '#libs/projections';
import { commits, configuration, replicas, requests, usage } from '#libs/projections';

/** Every projection of this version, by source. */
export const eventProjections = [commits, replicas, configuration] as const;
export const frameProjections = [requests, usage] as const;
export const projections: readonly Projection[] = [
  ...eventProjections,
  ...frameProjections,
] as unknown as readonly Projection[];
