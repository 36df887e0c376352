import type { NotaryAnswer } from '#libs/domain/diag';
import type { Cell } from './table.ts';
import { table } from './table.ts';
import type { Layout } from './text.ts';
import { blocks, clean, facts, plural } from './text.ts';
import { time, unknown } from './units.ts';

/** What an app's GET /ready said, or why nothing was heard. */
export interface AppStatus {
  readonly app: string;
  readonly url: string;
  /** Undefined where nobody answered. */
  readonly ready: boolean | undefined;
  readonly state: string;
  readonly error: string;
  readonly dependencies: Readonly<
    Record<string, { readonly state: string; readonly detail?: string; readonly required?: boolean }>
  >;
}

/** Reads the body of /ready whatever it is: one that says nothing gives an app without dependencies. */
export function appStatus(app: string, url: string, status: number, body: unknown): AppStatus {
  const json = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>;
  const dependencies = json['dependencies'];
  return {
    app,
    url,
    ready: status === 200,
    state: typeof json['state'] === 'string' ? json['state'] : status === 200 ? 'up' : 'down',
    error: status === 200 || status === 503 ? '' : `HTTP ${status}`,
    dependencies:
      typeof dependencies === 'object' && dependencies !== null ? (dependencies as AppStatus['dependencies']) : {},
  };
}

export function renderStatus(apps: readonly AppStatus[], layout: Layout, notary?: NotaryAnswer): string {
  const { paint } = layout;
  const bad = apps.filter(({ ready }) => ready !== true).map(({ app }) => app);
  const colour = (state: string): Cell => ({
    text: state,
    style:
      state === 'up'
        ? paint.green
        : state === 'degraded' || state === unknown || state === 'unknown'
          ? paint.yellow
          : paint.red,
  });
  const rows = apps.flatMap((one): Cell[][] => [
    [
      { text: one.app, style: paint.bold },
      colour(one.ready === undefined ? unknown : one.state),
      one.error === '' ? one.url : `${one.url}  ${one.error}`,
    ],
    ...Object.entries(one.dependencies).map(([name, { state, detail, required }]): Cell[] => [
      `  ${name}${required === false ? ' (optional)' : ''}`,
      colour(state),
      detail ?? '',
    ]),
  ]);
  const degraded = apps.some(({ state }) => state === 'degraded');
  const sentence =
    bad.length > 0
      ? paint.red(`NOT ready: ${clean(bad.join(', '))}.`)
      : paint.bold(degraded ? 'Everything serves, with less than everything.' : 'Everything is ready.');
  return blocks(
    sentence,
    table([{ title: 'what' }, { title: 'state' }, { title: 'detail' }], rows, layout),
    notary === undefined ? '' : notaryFacts(notary, layout),
  );
}

function notaryFacts(notary: NotaryAnswer, layout: Layout): string {
  const { sealedSeq, headSeq, anchors, publicKey, lastSealedAtMs, halted, haltedReason } = notary;
  return facts(
    [
      [
        'sealed',
        `through #${sealedSeq} of #${headSeq} by ${plural(anchors, 'anchor')}, last ${time(lastSealedAtMs, layout)}`,
      ],
      ['signed by', clean(publicKey)],
      ['notary', halted ? layout.paint.red(clean(`halted: ${haltedReason}`)) : ''],
    ],
    layout,
  );
}
