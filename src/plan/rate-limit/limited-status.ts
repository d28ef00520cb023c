// envoy.type.v3.HttpStatus as the number that is answered. Below 400 nothing would be refused: Envoy's default stands there instead.
import { enumDescriptor } from '../../xds/descriptor.ts';
import type { HttpStatus } from '../../xds/gen/types.ts';

export const limitedStatus = (status: HttpStatus | undefined, otherwise: number): number => {
  const code = status?.code ?? otherwise;
  const number = typeof code === 'number' ? code : (enumDescriptor('envoy.type.v3.StatusCode').byName.get(code) ?? otherwise);
  return number < 400 ? otherwise : number;
};
