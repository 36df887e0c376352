import type { RpcExceptionFilter } from '@nestjs/common';
import { Catch } from '@nestjs/common';
import type { Observable } from 'rxjs';
import { throwError } from 'rxjs';

/**
 * Lets a handler's error through as it is; the transport carries its code, message and advice. Without it Nest answers
 * "Internal server error". Set it for the microservice: `app.useGlobalFilters(new CodedRpcFilter())`.
 */
@Catch()
export class CodedRpcFilter implements RpcExceptionFilter<unknown> {
  catch(error: unknown): Observable<never> {
    return throwError(() => error);
  }
}
