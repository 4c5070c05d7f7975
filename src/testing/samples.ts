/**
 * The data of the conformance kit: awkward names, texts and bytes.
 *
 * @module
 */

/** Names that a careless store mixes up: separators, wildcards, case, Unicode forms, escapes. */
export const NAMES: readonly string[] = [
  ..."a A b ab aB a/b a/b/c a//b /a a/ a_b axb a%b a%%b a%2Fb a%2fb a:b a|b a-b a.b a,b a;b".split(
    " ",
  ),
  ..."../a ../../a ./a . .. ... a. .a a/. a/.. * ? # % _ a* a? a# ** [a] {a} (a) a+b a&b a=b".split(
    " ",
  ),
  ...`' '' " "" \` \\ \\\\ a\\b a\\nb $ $a \${a} ~ ! @ ^ < > &amp; ';-- a'b %00 %20 + null`.split(
    " ",
  ),
  ..."undefined true 0 1 01 1.0 1e3 NaN -1 {} [] __proto__ constructor toString con NUL".split(" "),
  ...[" ", "  ", "a ", " a", "a b", "a  b", "a\tb", "a\nb", "a\rb", "a\r\nb"],
  ...["\u0001", "a\u0001b", "a\u001fb", "a\u007f", "a\u0085b", "a\u00a0b"],
  ...["é", "e\u0301", "É", "Å", "A\u030a", "\u212b", "ﬁ", "fi", "ß", "ss"],
  ...["İ", "i", "I", "ı", "Ａ", "ｱ", "ア", "日本", "日本語", "a\u200bb"],
  ...["\ufeffa", "\ufffd", "\uffff", "\u{10000}", "\u{10ffff}", "😀", "👩‍💻"],
  ...["a\u2028b", "a\u202eb", "\u05d0", "x".repeat(600)],
  ...["x".repeat(599) + "y", "x".repeat(599) + "X", "x".repeat(601)],
  ...["é".repeat(600), "é".repeat(599) + "e", "😀".repeat(300)],
  "/".repeat(600),
];

/** Joins that could make two pairs of id and key one: `a` + `b/c` and `a/b` + `c`. */
export const JOINS: readonly string[] = [
  ..."/ // : :: | - -- _ . .. , ; # % %2F %2f \\ ' \" + & = ~ ! $ @".split(" "),
  ...["", " ", "\t", "\n", "\u0001", "\u001f", "\u001e", "\uffff", "😀"],
];

/** Texts that a store could trim, convert, parse or cut. */
export const TEXTS: readonly string[] = [
  ...["", " ", "\n", "\r\n", "\r", "a\r\nb\rc\nd", "\ufeff", "\ufefftext"],
  ...["0", "-0", "123", "1e400", "007", "0x10", "9007199254740993", "NaN"],
  ...["null", "undefined", "true", '"text"', "{}", '{"a":[1,2]}', "[]", "a"],
  ...["é", "e\u0301", "日本語", "😀", "\u{10ffff}", "\uffff", "\ufffe", "\ufffd"],
  ...["\u0001\u0002\u001f", "\u007f\u0080\u009f", "\u2028\u2029", "trailing "],
  ...["'; drop table entries; --", "%00", "\\0", "\\u0000", "aGVsbG8=", "<a/>"],
];

/** Every byte once: no encoding may change any of them. */
export const ALL_BYTES: Uint8Array<ArrayBuffer> = Uint8Array.from({ length: 256 }, (_, i) => i);

/** Bytes that a store could take for text, for the end, or for compressed data. */
export const BYTES: readonly Uint8Array[] = [
  new Uint8Array(),
  Uint8Array.of(0),
  Uint8Array.of(0, 0, 0),
  Uint8Array.of(255),
  ALL_BYTES,
  ALL_BYTES.toReversed(),
  // Bytes that read as text: "123", "{}", "é", a byte order mark, a broken sequence.
  Uint8Array.of(0x31, 0x32, 0x33),
  Uint8Array.of(0x7b, 0x7d),
  Uint8Array.of(0xc3, 0xa9),
  Uint8Array.of(0xef, 0xbb, 0xbf),
  Uint8Array.of(0xc3, 0x28, 0xa0, 0xa1),
  Uint8Array.of(0x1f, 0x8b, 0x08, 0x00),
];
