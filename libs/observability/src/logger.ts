import type { DestinationStream, Logger } from 'pino';
import { destination, pino, stdTimeFunctions } from 'pino';

export type { Logger } from 'pino';

/** What must never be printed, wherever it hides in a logged object. */
const redacted = [
  'authorization',
  'password',
  'apiKey',
  'adminKey',
  '*.authorization',
  '*.password',
  '*.apiKey',
  '*.adminKey',
];

/** JSON lines on standard error (standard output belongs to what a person asked for), or on the stream given. */
export function createLogger(options: { name: string; level?: string; stream?: DestinationStream }): Logger {
  return pino(
    {
      name: options.name,
      level: options.level ?? 'info',
      timestamp: stdTimeFunctions.isoTime,
      redact: { paths: redacted, censor: '[redacted]' },
    },
    options.stream ?? destination({ dest: 2, sync: false }),
  );
}
