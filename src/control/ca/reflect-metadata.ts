// The part of the Reflect metadata proposal that the dependency container inside @peculiar/x509 uses. Import this
// before that package. It fills in what is missing and never replaces what a runtime or another module brought.

type Key = string | symbol;
interface MetadataReflect {
  defineMetadata?: (key: unknown, value: unknown, target: object, property?: Key) => void;
  getOwnMetadata?: (key: unknown, target: object, property?: Key) => unknown;
  getMetadata?: (key: unknown, target: object, property?: Key) => unknown;
  metadata?: (key: unknown, value: unknown) => (target: object, property?: Key) => void;
}

const store = new WeakMap<object, Map<Key | undefined, Map<unknown, unknown>>>();

const defineMetadata = (key: unknown, value: unknown, target: object, property?: Key): void => {
  const properties = store.get(target) ?? new Map<Key | undefined, Map<unknown, unknown>>();
  const values = properties.get(property) ?? new Map<unknown, unknown>();
  store.set(target, properties.set(property, values.set(key, value)));
};

const getOwnMetadata = (key: unknown, target: object, property?: Key): unknown => store.get(target)?.get(property)?.get(key);

const getMetadata = (key: unknown, target: object, property?: Key): unknown => {
  for (let at: object | null = target; at !== null; at = Object.getPrototypeOf(at) as object | null) {
    const value = getOwnMetadata(key, at, property);
    if (value !== undefined) return value;
  }
  return undefined;
};

const reflect = Reflect as MetadataReflect;
if (reflect.getMetadata === undefined) {
  reflect.defineMetadata = defineMetadata;
  reflect.getOwnMetadata = getOwnMetadata;
  reflect.getMetadata = getMetadata;
  reflect.metadata = (key, value) => (target, property) => defineMetadata(key, value, target, property);
}
