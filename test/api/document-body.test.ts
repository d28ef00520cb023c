// What people get back when they ask for an object: its own part of a document, and no secret.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDocuments } from '../../src/api/parse-documents.ts';
import { documentBody } from '../../src/api/reading/document-body.ts';

const body = (text: string): unknown => {
  const resource = parseDocuments('a.yaml', text).resources[0];
  assert.ok(resource);
  return documentBody(resource);
};

test('fields stand where the kind has them', () => {
  const rule = 'apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec: {host: b}\n';
  assert.deepEqual(body(rule), { spec: { host: 'b' } });
  assert.deepEqual(body('apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {b: c}\n'), { data: { b: 'c' } });
});

test('a Secret says its keys and how long its values are', () => {
  const secret = 'apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ntype: Opaque\ndata: {k: aHVudGVy}\nstringData: {t: hunter2}\n';
  const shown = { type: 'Opaque', data: { k: '(8 characters, not shown)' }, stringData: { t: '(7 characters, not shown)' } };
  assert.deepEqual(body(secret), shown);
});
