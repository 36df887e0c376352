/** What the program says of itself, in lines. */
type Log = (line: string) => void;

export const LLAMA_MODEL: string;
export const LLAMA_NEEDS: string;

export function ensureLlamaCpp(options?: {
  log?: Log;
}): Promise<{ libDir: string; modelPath: string; unavailable?: never } | { unavailable: string }>;

export interface LlamaServer {
  readonly name: string;
  readonly url: string;
  readonly pid: number;
  readonly port: number;
  kill(signal?: NodeJS.Signals): boolean;
  readonly exited: Promise<{ status: number | null; signal: NodeJS.Signals | null }>;
  stop(): Promise<unknown>;
}

/** Ends with this process. */
export function startLlamaServer(options?: {
  name?: string;
  port?: number;
  parallel?: number;
  contextSize?: number;
  node?: string;
  log?: Log;
}): Promise<LlamaServer>;
