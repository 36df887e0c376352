import { closest } from '#libs/kernel';
import { keyAllows } from '#libs/domain/tenancy';
import * as errors from './errors.ts';
import type { Exchange } from './exchange.ts';
import type { Plane } from './plane.ts';
import type { ListedModel } from './targets/listed.ts';
import { listedName, listedNames } from './targets/listed.ts';

const shape = ({ id, parent, root, maxModelLen }: Partial<ListedModel>): Record<string, unknown> => ({
  id,
  object: 'model',
  created: 0,
  owned_by: 'lintel',
  ...(root === undefined ? {} : { root }),
  ...(parent === undefined ? {} : { root: parent, parent }),
  ...(maxModelLen === undefined ? {} : { max_model_len: maxModelLen }),
});

/** GET /v1/models and /v1/models/{id}, from the fleet, as far as the key may see. */
export function answerModels(exchange: Exchange, plane: Plane): void {
  const { key, target } = exchange;
  const tenantId = key?.tenantId ?? '';
  const visible = (model: { readonly id: string }): boolean => key === undefined || keyAllows(key, model.id);
  const models = [...plane.fleet.models(), ...listedNames(plane, tenantId)].filter(visible);
  if (target.id === undefined) {
    exchange.answer(JSON.stringify({ object: 'list', data: models.map(shape) }));
    return;
  }
  const id = decoded(target.id);
  if (id === undefined) {
    exchange.refuse(errors.badRequest('invalid_model', 'The model in the path is not percent-encoded UTF-8.', 'model'));
    return;
  }
  const model = plane.fleet.model(id) ?? listedName(plane, id, tenantId);
  if (model !== undefined && visible(model)) exchange.answer(JSON.stringify(shape(model)));
  else if (plane.fleet.settling) exchange.refuse(errors.modelsSettling(id));
  else
    exchange.refuse(
      errors.modelNotFound(
        id,
        plane.compat,
        closest(
          id,
          models.map(({ id }) => id),
        ),
      ),
    );
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
