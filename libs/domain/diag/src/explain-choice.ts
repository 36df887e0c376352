import { route } from '#libs/contracts';
import { enumName } from './json.ts';

export interface StageExplanation {
  readonly model: string;
  /** Label selector; '' is all of its replicas. */
  readonly replicas: string;
  /** "own", "overflow", "fallback". */
  readonly tier: string;
}

export interface LookExplanation extends StageExplanation {
  readonly taken: boolean;
  /** "first", "saturated", "gone", "failed", "overloaded": why it was looked at. */
  readonly cause: string;
  readonly known: number;
  readonly ready: number;
  readonly full: number;
  /** First pick that it led to. */
  readonly pick: number;
  readonly atMs: number;
}

/** How the name asked for led to the model served. */
export interface ModelChoiceExplanation {
  readonly asked: string;
  readonly routeId: string;
  readonly routeVersion: number;
  readonly routeSeq: number;
  /** "only", "weight", "header", "held"; '' where no model route governs the name. */
  readonly share: string;
  /** What the hash is of: "session", "end user", "key", "request". */
  readonly hashed: string;
  readonly looks: readonly LookExplanation[];
}

export function explainChoice(choice: route.ModelChoice): ModelChoiceExplanation {
  const { asked, routeId, routeVersion, routeSeq, hashed, shareReason } = choice;
  const looks = choice.looks.map(({ stage, taken, cause, known, ready, full, pick, atMs }): LookExplanation => {
    const { model = '', replicas = '', tier = 0 } = choice.stages[stage] ?? {};
    const named = { model, replicas, tier: enumName(route.StageTierSchema, tier) };
    return { ...named, taken, cause: enumName(route.StageCauseSchema, cause), known, ready, full, pick, atMs };
  });
  const share = routeId === '' ? '' : enumName(route.ShareReasonSchema, shareReason);
  return { asked, routeId, routeVersion, routeSeq, share, hashed, looks };
}

/** "main", "main (version=v2)", "main's providers". */
export function stageText({ model, replicas, tier }: StageExplanation): string {
  const where = tier === 'own' || tier === '' ? model : `${model} at its ${tier} provider`;
  return replicas === '' ? where : `${where} (${replicas})`;
}

function whyText(looks: readonly LookExplanation[], last: LookExplanation): string {
  const index = looks.indexOf(last);
  const before = looks.findLast((look, at) => at < index && (look.taken || look.cause === 'first')) ?? last;
  switch (last.cause) {
    case 'saturated':
      return `, since ${stageText(before)} was saturated: ${before.full} of ${before.ready} full`;
    case 'gone':
      return `, since ${stageText(before)} was gone: ${before.ready} of ${before.known} took requests`;
    case 'failed':
      return `, since its tries at ${stageText(before)} failed`;
    case 'overloaded':
      return `, since its tries at ${stageText(before)} were turned away`;
    default:
      return '';
  }
}

const shareTexts: Readonly<Record<string, string>> = {
  weight: ' by weight',
  header: ' by its header',
  held: ', which holds what it goes on from',
};

/** Which name led where, and why. */
export function choiceSentence(choice: ModelChoiceExplanation): string {
  const { asked, routeId, routeVersion, looks, share, hashed } = choice;
  const by = routeId === '' ? '' : ` (model route ${routeId} v${routeVersion})`;
  const last = looks.findLast(({ taken }) => taken);
  if (last === undefined) return `${asked} led nowhere: ${looks.map(lookText).join(', ')}${by}.`;
  const first = last.cause === 'first';
  const shared = first ? (shareTexts[share] ?? '') + (share === 'weight' ? ` of its ${hashed}` : '') : '';
  return `${asked} led to ${stageText(last)}${shared}${whyText(looks, last)}${by}.`;
}

const lookText = (look: LookExplanation): string => `${stageText(look)} had ${look.ready} of ${look.known} ready`;
