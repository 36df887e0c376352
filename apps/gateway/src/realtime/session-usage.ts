import type { RecordedUsage } from '#libs/recording';
import { usageOf } from '../serve/body/usage.ts';

/** Events that tell usage: OpenAI's end of a response, vLLM's end of a transcription. */
const telling = /"type"\s*:\s*"(?:response\.done|transcription\.done)"/;

export const tellsUsage = (beginning: string): boolean => telling.test(beginning);

/** Usage of a session: the sum over its responses. */
export class SessionUsage {
  usage: RecordedUsage | undefined;

  event(json: string): void {
    const told = usageIn(json);
    if (told === undefined) return;
    const { usage } = this;
    this.usage =
      usage === undefined
        ? told
        : {
            promptTokens: usage.promptTokens + told.promptTokens,
            completionTokens: usage.completionTokens + told.completionTokens,
            cachedTokens: usage.cachedTokens + told.cachedTokens,
            fromEngine: true,
          };
  }
}

function usageIn(json: string): RecordedUsage | undefined {
  try {
    const event = JSON.parse(json) as { usage?: unknown; response?: { usage?: unknown } };
    return usageOf(event.response?.usage ?? event.usage);
  } catch {
    // The engine's own mistake: its usage is then unknown.
    return undefined;
  }
}
