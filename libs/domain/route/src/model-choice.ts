import { fromJsonString } from '@bufbuild/protobuf';
import { route } from '#libs/contracts';
import { fnv1a32 } from '#libs/kernel';

const { ShareReason, StageCause, StageTier } = route;

/** Replicas of one model that a request may go to, and when. */
export interface Stage {
  readonly model: string;
  /** Label selector; '' is all. */
  readonly replicas: string;
  readonly tier: route.StageTier;
  /** It may be used where those before it are saturated; where they are gone. The first one always. */
  readonly saturated: boolean;
  readonly gone: boolean;
}

/** What is seen of a stage's replicas. */
export interface StageSeen {
  readonly known: number;
  /** Take requests. */
  readonly ready: number;
  /** Of those, without room. */
  readonly full: number;
}

export interface ShareChoice {
  /** -1 where the route has no shares. */
  readonly share: number;
  readonly reason: route.ShareReason;
}

/** Places of a hash in 0 … 1: neighbouring session ids must not fall next to each other. */
function placeOf(hash: number): number {
  let mixed = hash >>> 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return ((mixed ^ (mixed >>> 16)) >>> 0) / 2 ** 32;
}

/** Whose requests stay together: the same text gives the same side, for each route another division. */
export const choiceHash = (routeId: string, text: string): number => fnv1a32(`${routeId}\0${text}`);

/** Which share a request has. `forced`: its header, or what it goes on from, says so; -1 nobody does. Pure. */
export function chooseShare({ shares }: route.ModelRoute, hash: number, forced = -1, held = false): ShareChoice {
  if (shares.length === 0) return { share: -1, reason: ShareReason.ONLY };
  if (forced >= 0 && forced < shares.length) {
    return { share: forced, reason: held ? ShareReason.HELD : ShareReason.HEADER };
  }
  const weighted = shares.filter(({ weight }) => weight > 0).length;
  const total = shares.reduce((sum, { weight }) => sum + weight, 0);
  let left = placeOf(hash) * total;
  let last = 0;
  for (const [index, { weight }] of shares.entries()) {
    if (weight === 0) continue;
    last = index;
    if (left < weight) break;
    left -= weight;
  }
  return { share: last, reason: weighted === 1 ? ShareReason.ONLY : ShareReason.WEIGHT };
}

/** What a model's own providers add to it. */
export interface Spares {
  readonly overflow: boolean;
  readonly fallback: boolean;
}

/** The stages of a request in their order: the share's model, its providers, then the fallbacks with theirs. Pure. */
export function stagesOf(
  asked: string,
  given: route.ModelRoute | undefined,
  share: number,
  sparesOf: (model: string) => Spares | undefined,
): Stage[] {
  const stages: Stage[] = [];
  const add = (model: string, replicas: string, saturated: boolean, gone: boolean): void => {
    const spares = sparesOf(model);
    stages.push({ model, replicas, tier: StageTier.OWN, saturated, gone });
    if (spares?.overflow === true) {
      stages.push({ model, replicas, tier: StageTier.OVERFLOW, saturated: true, gone: true });
    }
    if (spares?.fallback === true) {
      stages.push({ model, replicas, tier: StageTier.FALLBACK, saturated: false, gone: true });
    }
  };
  const chosen = given?.shares[share];
  add(chosen?.model || asked, chosen?.replicas ?? '', true, true);
  for (const fallback of given?.fallbacks ?? []) {
    add(fallback.model || asked, fallback.replicas, fallback.saturated, fallback.gone);
  }
  return stages;
}

/** Why the stages after this one are looked at; undefined where it is good. */
export function causeOf({ ready, full }: StageSeen): route.StageCause | undefined {
  if (ready === 0) return StageCause.GONE;
  return full >= ready ? StageCause.SATURATED : undefined;
}

/** A stage that may be used for this cause. Turned away is as good as full, and as good as gone. */
const serves = ({ saturated, gone }: Stage, cause: route.StageCause): boolean =>
  (gone && cause !== StageCause.SATURATED) ||
  (saturated && (cause === StageCause.SATURATED || cause === StageCause.OVERLOADED));

/**
 * The stage to use: the first with room that may be used for what befell the first one (or, after `failed`, that one's tries); where none
 * has room, the first that takes requests at all. -1 is none. `look` is asked once for each stage that comes into question, in order.
 * Pure but for `look`.
 */
export function pickStage(
  stages: readonly Stage[],
  failed: number,
  cause: route.StageCause,
  look: (stage: number, cause: route.StageCause) => StageSeen,
): number {
  let full = -1;
  let why = cause;
  if (failed < 0) {
    const befell = causeOf(look(0, StageCause.FIRST));
    if (befell === undefined) return 0;
    if (befell === StageCause.SATURATED) full = 0;
    why = befell;
  }
  for (let index = Math.max(failed, 0) + 1; index < stages.length; index++) {
    if (!serves(stages[index] as Stage, why)) continue;
    const befell = causeOf(look(index, why));
    if (befell === undefined) return index;
    if (befell === StageCause.SATURATED && full < 0) full = index;
  }
  return full;
}

/** Decides a recorded choice again, from the record alone: what differs, or undefined. */
export function recheckChoice(choice: route.ModelChoice): { recorded: string; executed: string } | undefined {
  const { asked, routeJson, hash, share, shareReason, stages, looks } = choice;
  if (routeJson !== '') {
    const given = fromJsonString(route.ModelRouteSchema, routeJson, { ignoreUnknownFields: true });
    const forced = shareReason === ShareReason.HEADER || shareReason === ShareReason.HELD ? share - 1 : -1;
    const again = chooseShare(given, hash, forced, shareReason === ShareReason.HELD);
    if (again.share !== share - 1 || again.reason !== shareReason) {
      return { recorded: `share ${share}`, executed: `share ${again.share + 1}` };
    }
    const tiersOf = (model: string): Spares => ({
      overflow: stages.some((one) => one.model === model && one.tier === StageTier.OVERFLOW),
      fallback: stages.some((one) => one.model === model && one.tier === StageTier.FALLBACK),
    });
    const expected = stagesOf(asked, given, again.share, tiersOf).map(stageText).join(', ');
    const recorded = stages.map(stageText).join(', ');
    if (expected !== recorded) return { recorded, executed: expected };
  }
  return recheckLooks(choice, looks);
}

const stageText = ({ model, replicas, tier, saturated, gone }: Stage): string =>
  `${model}/${replicas}/${tier}/${saturated}/${gone}`;

function recheckLooks(
  { stages }: route.ModelChoice,
  looks: readonly route.StageLook[],
): { recorded: string; executed: string } | undefined {
  let at = 0;
  let current = -1;
  while (at < looks.length) {
    const begin = at;
    const cause = looks[at]?.cause ?? StageCause.FIRST;
    let wrong = '';
    const executed = pickStage(stages, current, cause, (stage, why) => {
      const seen = looks[at];
      if (seen === undefined || seen.stage !== stage || seen.cause !== why) {
        wrong ||= `stage ${stage} looked at after ${at} looks`;
        return { known: 0, ready: 0, full: 0 };
      }
      at++;
      return seen;
    });
    const taken = looks.slice(begin, at).find(({ taken }) => taken)?.stage ?? -1;
    if (wrong !== '') return { recorded: `${looks.length} looks`, executed: wrong };
    if (taken !== executed) return { recorded: `stage ${taken}`, executed: `stage ${executed}` };
    if (at === begin) return { recorded: `${looks.length} looks`, executed: `${at} looks` };
    current = taken < 0 ? (looks[at - 1]?.stage ?? current) : taken;
  }
  return undefined;
}
