import { createHash } from 'node:crypto';
import { CodedError } from '#libs/kernel';
import type { PipelineSpec, PluginUse } from './contract.ts';

const sorted = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, inner]) => [name, sorted(inner)]),
  );
};

/** The one text of a pipeline: names in order, no spaces. Stands in the records. */
export const canonicalJson = (spec: PipelineSpec): string => JSON.stringify(sorted(spec));

/** sha256 of the canonical JSON, hex. */
export const pipelineHash = (spec: PipelineSpec): string =>
  createHash('sha256').update(canonicalJson(spec)).digest('hex');

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isUse = (value: unknown): value is PluginUse =>
  isObject(value) &&
  typeof value['type'] === 'string' &&
  typeof value['version'] === 'number' &&
  isObject(value['params']);

const isWeighted = (value: unknown): boolean =>
  isUse(value) && Number.isFinite((value as { weight?: unknown }).weight as number);

/** Reads a pipeline back from a record. Its plugins are checked when it is compiled. @throws SCHEDULING_PIPELINE_INVALID */
export function parsePipeline(json: string): PipelineSpec {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw new CodedError('SCHEDULING_PIPELINE_INVALID', 'a recorded pipeline is not JSON', { cause });
  }
  const fits =
    isObject(value) &&
    typeof value['strategy'] === 'string' &&
    Array.isArray(value['filters']) &&
    value['filters'].every(isUse) &&
    Array.isArray(value['scorers']) &&
    value['scorers'].every(isWeighted) &&
    isUse(value['picker']);
  if (!fits) throw new CodedError('SCHEDULING_PIPELINE_INVALID', 'a recorded pipeline lacks its parts');
  return value as unknown as PipelineSpec;
}
