import { CodedError } from '#libs/kernel';

/** What the shell learns. docs/cli.md lists them; scripts rest on them. */
export const exitCodes = {
  /** Done; where something was asked, the answer is yes. */
  ok: 0,
  /** The answer is no: records differ, the log does not verify, a dependency is not ready, a rebuild failed. */
  no: 1,
  /** The command line, a file or a value given is wrong. */
  usage: 2,
  /** There is no such request, commit, replica, key or letter. */
  notFound: 3,
  /** No Lintel is running there, or it cannot be reached or is not ready. */
  unreachable: 4,
  /** Refused: wrong key, not allowed, in conflict with what is there. */
  refused: 5,
  /** Lintel failed, or answered what cannot be read. */
  failed: 6,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** An answer of the API that says no: RFC 9457 with Lintel's code. */
export class ApiProblem extends CodedError {
  readonly status: number;

  constructor(status: number, code: string, message: string, advice: string | undefined) {
    super(code, message, advice === undefined ? {} : { advice });
    this.status = status;
  }
}

const byStatus = (status: number): ExitCode => {
  if (status === 404) return exitCodes.notFound;
  if (status === 401 || status === 403 || status === 409) return exitCodes.refused;
  if (status === 502 || status === 503 || status === 504) return exitCodes.unreachable;
  return status >= 400 && status < 500 ? exitCodes.usage : exitCodes.failed;
};

/** What the code says is surer than the status: the status of an unknown id is 404 in one context and 400 in another. */
const byApiCode: readonly (readonly [RegExp, ExitCode])[] = [
  [/_(?:NOT_FOUND|UNKNOWN)$/, exitCodes.notFound],
  [/_(?:UNAUTHORIZED|FORBIDDEN|CONFLICT)$/, exitCodes.refused],
  [/^BUS_|_UNAVAILABLE$|_TIMEOUT$/, exitCodes.unreachable],
];

const byCode: readonly (readonly [RegExp, ExitCode])[] = [
  [/^(?:LINTEL_NOT_RUNNING|API_UNREACHABLE|API_TIMEOUT|NATS_UNREACHABLE|NATS_NO_JETSTREAM)$/, exitCodes.unreachable],
  [/^(?:LOG_NOT_EMPTY|NATS_REFUSED|LOG_FORBIDDEN|ADMIN_KEY_UNREADABLE|STREAM_DIFFERS)$/, exitCodes.refused],
  [/^ARCHIVE_(?:INVALID|TRUNCATED|UNVERIFIED)$/, exitCodes.no],
  [/_NOT_FOUND$/, exitCodes.notFound],
  [/_(?:INVALID|UNKNOWN|MISSING|UNREADABLE|UNWRITABLE|EXISTS|TOO_LARGE)$/, exitCodes.usage],
];

/** The exit code of anything that was thrown. */
export function exitCodeOf(thrown: unknown): ExitCode {
  if (thrown instanceof ApiProblem) {
    // Somebody answers there, and it is not the API that this program knows.
    const stranger = thrown.code === 'API_ANSWER_UNUSABLE' || thrown.code === 'ROUTE_NOT_FOUND';
    if (stranger) return exitCodes.failed;
    return byApiCode.find(([pattern]) => pattern.test(thrown.code))?.[1] ?? byStatus(thrown.status);
  }
  if (thrown instanceof CodedError) {
    return byCode.find(([pattern]) => pattern.test(thrown.code))?.[1] ?? exitCodes.failed;
  }
  return exitCodes.failed;
}
