import { route } from '#libs/contracts';
import type {
  CapturedPick,
  RecordedAttempt,
  RecordedCost,
  RecordedForecast,
  RecordedHandover,
  RecordedTunnel,
  RecordedUsage,
  RecordInput,
} from '#libs/recording';
import type { RequestFeatures } from '#libs/scheduling';

/** What an exchange gathers for its record; filled in as it goes. */
export class Account {
  tenantId = '';
  keyId = '';
  /** Of the key. */
  projectId = '';
  userId = '';
  endUser = '';
  model = '';
  adapter = '';
  stream = false;
  profile = '';
  features: RequestFeatures | undefined;
  readonly picks: CapturedPick[] = [];
  readonly attempts: RecordedAttempt[] = [];
  outcome: route.Outcome = route.Outcome.UNSPECIFIED;
  httpStatus = 0;
  errorCode = '';
  errorMessage = '';
  usage: RecordedUsage | undefined;
  /** Undefined is unknown. */
  cost: RecordedCost | undefined;
  /** Of a WebSocket session. */
  tunnel: RecordedTunnel | undefined;
  traceparent = '';
  clientAddress = '';
  /** Milliseconds from the request received. */
  bodyReadMs = 0;
  pickedMs = 0;
  firstByteMs = 0;
  totalMs = 0;
  pickUs = 0;
  tokenSpanMs = 0;
  tokenGaps = 0;
  tokenGapMsMax = 0;
  queuedMs = 0;
  /** Undefined where the name asked for led to the model of that name. */
  choice: { readonly asked: string; toRecord(): route.ModelChoice } | undefined;
  replicasSeq = 0;
  tenantsSeq = 0;
  handover: RecordedHandover | undefined;
  /** Of the answer that came whole: what was foretold of its first token and its end, and what it came to. */
  forecasts: { readonly ttft: RecordedForecast | undefined; readonly finish: RecordedForecast | undefined } | undefined;

  toRecord(requestId: string, receivedAtMs: number, endpoint: string): RecordInput {
    return {
      requestId,
      receivedAtMs,
      tenantId: this.tenantId,
      keyId: this.keyId,
      projectId: this.projectId,
      userId: this.userId,
      endUser: this.endUser,
      endpoint,
      model: this.model,
      adapter: this.adapter,
      stream: this.stream,
      features: this.features,
      picks: this.picks,
      attempts: this.attempts,
      outcome: this.outcome,
      httpStatus: this.httpStatus,
      errorCode: this.errorCode,
      timings: {
        bodyReadMs: this.bodyReadMs,
        pickedMs: this.pickedMs,
        firstByteMs: this.firstByteMs,
        totalMs: this.totalMs,
        pickUs: this.pickUs,
        tokenSpanMs: this.tokenSpanMs,
        tokenGaps: this.tokenGaps,
        tokenGapMsMax: this.tokenGapMsMax,
        queuedMs: this.queuedMs,
      },
      usage: this.usage,
      cost: this.cost,
      tunnel: this.tunnel,
      traceparent: this.traceparent,
      clientAddress: this.clientAddress,
      // Replicas and policies are folds of the same subjects, up to one sequence.
      heads: { replicas: this.replicasSeq, policies: this.replicasSeq, tenants: this.tenantsSeq },
      errorMessage: this.errorMessage,
      profile: this.profile,
      handover: this.handover,
      modelChoice: this.choice?.toRecord(),
      ttft: this.forecasts?.ttft,
      finish: this.forecasts?.finish,
    };
  }
}
