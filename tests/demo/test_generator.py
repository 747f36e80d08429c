"""The built-in corpus: words, frames and sentences."""

import random
import re
import shutil
import unicodedata

import pytest

from skipclm.demo import generator
from skipclm.errors import InputError

SAMPLE = 20_000


@pytest.fixture(scope="module")
def frames():
    return {frame.name: frame for frame in generator.load_frames()}


@pytest.fixture(scope="module")
def sample():
    return generator.generate(SAMPLE, seed=1)


SENTENCES = [
    (
        "gave",
        "Ayşe|give|brother|umbrella|red|yesterday",
        "Ayşe gave my brother a red umbrella yesterday.",
        "Ayşe hat meinem Bruder gestern einen roten Regenschirm gegeben.",
        "Ayşe dün erkek kardeşime kırmızı bir şemsiye verdi.",
        "艾谢昨天给了我弟弟一把红色的雨伞。",
    ),
    (
        "is wearing",
        "I|wear|shirt|white",
        "I am wearing a white shirt.",
        "Ich trage ein weißes Hemd.",
        "Beyaz bir gömlek giyiyorum.",
        "我穿着一件白色的衬衫。",
    ),
    (
        "has animals",
        "we|two|sheep",
        "We have two sheep.",
        "Wir haben zwei Schafe.",
        "İki koyunumuz var.",
        "我们有两只羊。",
    ),
    (
        "relative's thing is",
        "neighbor|watch|expensive",
        "Our neighbor's watch is very expensive.",
        "Die Uhr unseres Nachbarn ist sehr teuer.",
        "Komşumuzun saati çok pahalı.",
        "我们邻居的手表很贵。",
    ),
    (
        "thing is more than",
        "book|expensive|watch",
        "This book is more expensive than the watch.",
        "Dieses Buch ist teurer als die Uhr.",
        "Bu kitap saatten daha pahalı.",
        "这本书比那块手表贵。",
    ),
    (
        "forgot to",
        "Anna|tidy room|yesterday|forget",
        "Anna forgot to tidy up the room yesterday.",
        "Anna hat gestern vergessen, das Zimmer aufzuräumen.",
        "Anna dün odayı toplamayı unuttu.",
        "安娜昨天忘了收拾房间。",
    ),
    (
        "if the weather is nice",
        "teacher|walk|Sunday",
        "If the weather is nice on Sunday, the teacher will go for a walk.",
        "Wenn das Wetter am Sonntag schön ist, geht die Lehrerin spazieren.",
        "Pazar günü hava güzel olursa öğretmen yürüyüş yapacak.",
        "如果星期天天气好，老师就去散步。",
    ),
    (
        "cannot come because",
        "I|do homework|be|tomorrow|come",
        "I cannot come tomorrow because I have to do the homework.",
        "Ich kann morgen nicht kommen, weil ich die Hausaufgaben machen muss.",
        "Ödevi yapmak zorunda olduğum için yarın gelemeyeceğim.",
        "我明天不能来，因为我得做作业。",
    ),
    (
        "the thing that someone bought",
        "car|Peter|buy|last week|cheap",
        "The car that Peter bought last week is very cheap.",
        "Das Auto, das Peter letzte Woche gekauft hat, ist sehr billig.",
        "Peter'in geçen hafta aldığı araba çok ucuz.",
        "彼得上个星期买的车很便宜。",
    ),
    (
        "sad because lost",
        "they|sad|lose|key|black",
        "They are sad because they lost their black key.",
        "Sie sind traurig, weil sie ihren schwarzen Schlüssel verloren haben.",
        "Siyah anahtarlarını kaybettikleri için üzgünler.",
        "他们很难过，因为他们弄丢了黑色的钥匙。",
    ),
    (
        "commutes",
        "uncle|travel|office|bicycle",
        "My uncle goes to the office by bicycle every day.",
        "Mein Onkel fährt jeden Tag mit dem Fahrrad ins Büro.",
        "Amcam her gün bisikletle ofise gidiyor.",
        "我叔叔每天骑自行车去办公室。",
    ),
    (
        "does not know where",
        "Ali|bag|new|know that",
        "Ali does not know where his new bag is.",
        "Ali weiß nicht, wo seine neue Tasche ist.",
        "Ali yeni çantasının nerede olduğunu bilmiyor.",
        "阿里不知道他的新包在哪里。",
    ),
    (
        "who bought",
        "sell|car|old",
        "Who sold this old car?",
        "Wer hat dieses alte Auto verkauft?",
        "Bu eski arabayı kim sattı?",
        "这辆旧车是谁卖的？",
    ),
    (
        "do not forget",
        "you|umbrella|old",
        "Do not forget your old umbrella!",
        "Vergiss deinen alten Regenschirm nicht!",
        "Eski şemsiyeni unutma!",
        "别忘了带你的旧雨伞！",
    ),
    (
        "has been so often",
        "Maria|Istanbul|three|travel",
        "Maria has been to Istanbul three times.",
        "Maria war schon dreimal in Istanbul.",
        "Maria İstanbul'a üç kez gitti.",
        "玛丽亚去过三次伊斯坦布尔。",
    ),
    (
        "does often with",
        "he|television|mother",
        "He often watches television with my mother.",
        "Er sieht oft mit meiner Mutter fern.",
        "Sık sık annemle televizyon izliyor.",
        "他常常和我妈妈一起看电视。",
    ),
]


@pytest.mark.parametrize(("frame", "filling", "en", "de", "tr", "zh"), SENTENCES)
def test_whole_sentences(frames, words, frame, filling, en, de, tr, zh):
    chosen = dict(zip(frames[frame].slots, (words[name] for name in filling.split("|")), strict=True))
    assert [frames[frame].render(language, chosen) for language in generator.LANGUAGES] == [en, de, tr, zh]


# --- the complete corpus


def test_same_seed_gives_the_same_sentences(sample):
    assert generator.generate(300, seed=1) == sample[:300]
    assert generator.generate(300, seed=2) != sample[:300]


def test_reach(frames, sample):
    assert len(frames) >= 40
    assert generator.count_reachable() > 500_000
    assert len({sentence["en"] for sentence in sample}) == SAMPLE


def test_lower_bound_of_one_frame_is_correct(frames):
    frame, randomness = frames["would like"], random.Random(0)
    drawn = {frame.render("en", frame.fill(randomness)) for _ in range(5000)}
    assert len(drawn) == frame.count()


def test_english_sentence_has_one_translation(frames):
    randomness, seen = random.Random(3), {}
    for frame in list(frames.values()) * 60:
        chosen = frame.fill(randomness)
        english, *rest = (frame.render(language, chosen) for language in generator.LANGUAGES)
        assert seen.setdefault(english, rest) == rest


@pytest.mark.parametrize("language", generator.LANGUAGES)
def test_spelling(sample, language):
    final = "。？！" if language == "zh" else ".?!"
    for sentence in (line[language] for line in sample):
        assert sentence == unicodedata.normalize("NFC", sentence)
        assert sentence[-1] in final
        assert not sentence[0].islower()
        assert not re.search(r"[{}]|  |^ | $| [,.?!]|[,.?!]{2}|K\b", sentence)
        if language == "zh":
            assert not re.search(r"[ ,.?!]|[A-Za-z]", sentence)


def test_turkish_has_singular_after_numbers_and_dotted_capital_i(sample):
    for sentence in (line["tr"] for line in sample):
        assert not re.search(r"\b(iki|üç|dört|beş|altı|yedi|sekiz|dokuz|on) \w+l[ae]r\b", sentence)
        assert not sentence.startswith("I")


def test_every_frame_and_every_word_is_used(frames, words):
    randomness = random.Random(4)
    lexicon = generator._load_words(generator.resource_folder() / "lexicon.yaml")
    assert set(words) == set(lexicon)
    drawn = {word.name for frame in frames.values() for _ in range(300) for word in frame.fill(randomness).values()}
    assert drawn == set(lexicon)


def test_sentence_lengths(sample):
    lengths = [len(line["en"].split()) for line in sample]
    assert 6 < sum(lengths) / SAMPLE < 10
    assert min(lengths) >= 3
    assert max(lengths) <= 16


def test_write_corpus(tmp_path):
    paths = generator.write_corpus(tmp_path, 20, seed=5)
    assert [path.name for path in paths] == ["demo.en", "demo.de", "demo.tr", "demo.zh"]
    expected = generator.generate(20, seed=5)
    assert paths[3].read_text(encoding="utf-8").splitlines() == [line["zh"] for line in expected]


# --- errors of users


def test_too_many_sentences_are_refused():
    with pytest.raises(InputError, match="within reach"):
        generator.generate(10**9, seed=1)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("lexicon.yaml", ", zh: 个 苹果", "", r"lexicon.yaml, nouns, apple.*zh"),
        ("lexicon.yaml", "个 苹果", "苹果", r"frames.yaml, frame '.*', zh.*'apple'.*classifier"),
        ("lexicon.yaml", "der Apfel / Äpfel", "der Apfel", r"'apple'.*plural"),
        ("lexicon.yaml", "der Apfel / Äpfel", "Apfel / Äpfel", r"nouns, apple.*der, die or das"),
        ("lexicon.yaml", "agrees: she, en: Anna", "en: Anna", r"names, Anna.*agrees"),
        ("lexicon.yaml", 'tr: "on"', "tr: on", r"numbers, ten"),
        ("lexicon.yaml", "numbers:", "numerals:", r"numerals"),
        ("groups.yaml", "fruit: [apple,", "fruit: [aple,", r"groups.yaml, fruit.*'aple'"),
        ("groups.yaml", "fruit: [apple,", "fruit: [fruit,", r"circle"),
        ("frames.yaml", "food: dish", "food: dishes", r"frame 'eats every day'.*'dishes'"),
        ("frames.yaml", "{food} {when}", "{foot} {when}", r"frame 'eats every day', en.*foot"),
        ("frames.yaml", "{food} {when}", "{food plural} {when}", r"en.*plural"),
        ("frames.yaml", " {food} {when}", " {when}", r"frame 'eats every day', en.*food"),
        ("frames.yaml", "  de: ", "  german: ", r"'de'.*'german'"),
    ],
)
def test_errors_in_the_resources_are_named(tmp_path, file, old, new, message):
    folder = tmp_path / "demo"
    shutil.copytree(generator.resource_folder(), folder)
    text = (folder / file).read_text(encoding="utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        generator.load_frames(folder)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"lexicon\.yaml"):
        generator.load_frames(tmp_path)
