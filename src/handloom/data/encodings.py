"""A guess at the encoding of a file that is not UTF-8, to be named in an error; nothing is ever read by guess."""

from __future__ import annotations

import re
import unicodedata

_SAMPLE = 200_000

# The commonest characters of each language. A wrong decoding hits them rarely.
_KANA = "のにはをたがでてとしれさあいうるなんからもこきくまりけそえすちつせどじわだよみやおめ一日本人ーン、。「」"
_COMMON = {
    "gb18030": "的一是不了在人有我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可里后小么"
    "心多天而能好都然没日于起还发成事只作当想看无开手十用主行方又如前所本见经头面公同三已老从动两长，。、“”！？：；（）",
    "big5": "的一是不了在人有我他這中大來上國個到說們為子和你地出道也時年得就那要下以生會自著去之過家學對可里後小麼"
    "心多天而能好都然沒日於起還發成事只作當想看無開手十用主行方又如前所本見經頭面公同三已老從動兩長，。、「」！？：；（）",
    "shift_jis": _KANA,
    "euc_jp": _KANA,
    "euc_kr": "이다는을의에가고하지도를한사로은들자기어서나리그인시대해아수정있것일스라만게전보제과장부러상주조성국내"
    "공구원소여면안무유우마미문치오거비관등신세동분개적발화당할모했습니까요않없",
    "cp1251": "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэф",
    "koi8_r": "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэф",
    "cp1252": "éèàçùâêîôûëïüöäßñáíóúãõåæøœÉÀÜÖÄ’‘“”–—…€£°®©«»¿¡´·\xa0",
}
_WIDE = ("utf-16-le", "utf-16-be")
_SINGLE_BYTE = ("cp1252", "cp1251", "koi8_r")


def is_binary(content: bytes) -> bool:
    """Whether it is no text in whatever encoding: zero bytes are in it, and it is no UTF-16."""
    return 0 in content[:_SAMPLE] and likely(content) not in _WIDE


def likely(content: bytes) -> str | None:
    """The name of the likeliest encoding, or None where nothing fits well."""
    sample = content[:_SAMPLE]
    zeros = sample.count(0)
    if zeros > len(sample) // 5:
        name = _WIDE[sample[1::2].count(0) <= sample[0::2].count(0)]
        text = _decoded(sample, name)
        return None if text is None or any(map(_means_nothing, set(text))) else name
    high = len(re.findall(rb"[\x80-\xff]", sample))
    runs = len(re.findall(rb"[\x80-\xff]+", sample))
    if not high:
        return None
    # Western accents stand alone between plain letters; every other script comes in runs of high bytes.
    alone = high / runs < 1.6
    scores = {}
    for name, common in _COMMON.items():
        if alone and name != "cp1252":
            continue
        text = _decoded(sample, name)
        if text is None or (name in ("cp1251", "koi8_r") and _changes_case(text)):
            continue
        foreign = [character for character in text if character > "\x7f"]
        hits = sum(map(frozenset(common).__contains__, foreign))
        # A byte hits a common letter of a small alphabet by chance more often than two bytes hit a common character.
        chance = len(common) / 128 if name in _SINGLE_BYTE else len(common) / 8000
        share = hits / max(len(foreign), 1)
        scores[name] = (share - chance) / (1 - chance)
    best = max(scores, key=lambda name: scores[name], default="")
    if not best or scores[best] < 0.15:
        return "cp1252" if alone else "gb18030" if _is_chinese(_decoded(sample, "gb18030")) else None
    return best


def _changes_case(text: str) -> bool:
    """Whether many words go from small letters to capitals: the mark of other bytes read as Cyrillic."""
    return len(re.findall("[а-яё][А-ЯЁ]", text)) * 10 > len(re.findall("[а-яёА-ЯЁ]+", text))


def _means_nothing(character: str) -> bool:
    """Whether no text has it: control characters other than blanks, and those that there are not."""
    return not character.isspace() and unicodedata.category(character) in ("Cc", "Cn", "Co")


def _is_chinese(text: str | None) -> bool:
    """Whether everything beyond ASCII is a Chinese character or its punctuation."""
    return text is not None and not re.search("[^\x00-\x7f\u2010-\u2026\u3000-\u303f\u4e00-\u9fff\uff00-\uff65]", text)


def _decoded(sample: bytes, name: str) -> str | None:
    # The sample's end may cut a character in two.
    for trimmed in range(4):
        try:
            return sample[: len(sample) - trimmed].decode(name)
        except UnicodeDecodeError as error:
            if error.start < len(sample) - 8:
                return None
    return None
