import type { FleetState } from './fleet-state.ts';

/** A model route as one line of a list. */
export interface ModelRouteItem {
  readonly routeId: string;
  readonly version: number;
  /** Names that clients use. */
  readonly models: readonly string[];
  /** Empty is everybody. */
  readonly tenants: readonly string[];
  /** "main: 95", "next (version=v2): 5 or x-canary: on". */
  readonly shares: readonly string[];
  /** "spare on saturated, gone". */
  readonly fallbacks: readonly string[];
  readonly source: string;
  readonly seq: number;
  readonly commitId: string;
}

interface PlaceJson {
  readonly model?: string;
  readonly replicas?: string;
  readonly weight?: number;
  readonly headerName?: string;
  readonly headerValue?: string;
  readonly saturated?: boolean;
  readonly gone?: boolean;
}

const placeText = ({ model = '', replicas = '' }: PlaceJson): string =>
  [model === '' ? 'itself' : model, ...(replicas === '' ? [] : [`(${replicas})`])].join(' ');

function shareText(share: PlaceJson): string {
  const { weight = 0, headerName = '', headerValue = '' } = share;
  const ways = [
    ...(weight > 0 ? [String(weight)] : []),
    ...(headerName === '' ? [] : [headerValue === '' ? headerName : `${headerName}: ${headerValue}`]),
  ];
  return `${placeText(share)}: ${ways.join(' or ')}`;
}

function fallbackText(fallback: PlaceJson): string {
  const on = [...(fallback.saturated === true ? ['saturated'] : []), ...(fallback.gone === true ? ['gone'] : [])];
  return `${placeText(fallback)} on ${on.join(', ')}`;
}

/** Model routes in force. */
export function modelRouteItems({ modelRoutes }: Pick<FleetState, 'modelRoutes'>): ModelRouteItem[] {
  return [...modelRoutes.values()]
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .map(({ id, fields, version, seq, commitId }) => ({
      routeId: id,
      version,
      models: (fields['models'] ?? []) as string[],
      tenants: (fields['tenants'] ?? []) as string[],
      shares: ((fields['shares'] ?? []) as unknown as PlaceJson[]).map(shareText),
      fallbacks: ((fields['fallbacks'] ?? []) as unknown as PlaceJson[]).map(fallbackText),
      source: String(fields['source'] ?? ''),
      seq,
      commitId,
    }));
}
