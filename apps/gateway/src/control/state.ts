import type { RouteState } from '#libs/domain/route';
import type { TenancyState } from '#libs/domain/tenancy';

/** What the gateway folded of the log, with the sequences up to which it did. Read at once; never kept across an await. */
export interface GatewayState {
  readonly route: RouteState;
  readonly routeSeq: number;
  readonly tenancy: TenancyState;
  readonly tenancySeq: number;
}
