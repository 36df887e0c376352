import { isSubjectId } from '#libs/contracts';
import { sha256Hex } from '#libs/event-log';

/** The aggregate of the document from one source ("config:lintel.yaml" → "config_lintel_yaml"). */
export function configurationId(source: string): string {
  const readable = source.replace(/[^A-Za-z0-9_-]/g, '_');
  return isSubjectId(readable) ? readable : sha256Hex(source).slice(0, 32);
}
