/** How bytes that are no request are answered. */
export interface ClientFault {
  readonly status: number;
  readonly code: string;
  readonly message: string;
}

export const headBytesMax = 16 * 1024;

export const faults = {
  malformed: {
    status: 400,
    code: 'malformed_http',
    message: 'The request is not well-formed HTTP/1.1, or could be read in two ways. Correct it.',
  },
  'headers-large': {
    status: 431,
    code: 'headers_too_large',
    message: `The headers are larger than ${headBytesMax} bytes, or too many. Send less.`,
  },
  'extensions-large': {
    status: 413,
    code: 'chunk_extensions_too_large',
    message: 'The extensions of a chunk are too large. Send chunks without them.',
  },
  timeout: {
    status: 408,
    code: 'request_timeout',
    message: 'The request did not come in time. Send it again, faster.',
  },
  expectation: {
    status: 417,
    code: 'expectation_failed',
    message: 'Only "expect: 100-continue" is met here.',
  },
} as const satisfies Record<string, ClientFault>;
