import * as route from './gen/lintel/route/v1/record_pb.ts';

/** How each outcome is spelled wherever it is told: records, rows, metrics, the header, the command line. By number. */
export const outcomeNames: readonly string[] = route.OutcomeSchema.values.map(({ localName }) =>
  localName.toLowerCase(),
);

export const outcomeName = (outcome: route.Outcome): string => outcomeNames[outcome] ?? String(outcome);
