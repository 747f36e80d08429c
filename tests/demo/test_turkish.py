"""Inflection in Turkish."""

import pytest

from skipclm.demo.grammar import inflect
from skipclm.demo.turkish import attach


@pytest.mark.parametrize(
    ("word", "suffixes", "expected"),
    [
        ("ev", ["lAr", "DA"], "evlerde"),
        ("okul", ["(y)A"], "okula"),
        ("park", ["DA"], "parkta"),
        ("kedi", ["(n)In"], "kedinin"),
        ("araba", ["(s)I", "nI"], "arabasını"),
        ("köprü", ["(y)I"], "köprüyü"),
        ("süt", ["(y)I"], "sütü"),
        ("göz", ["(I)mIz"], "gözümüz"),
        ("dört", ["DA"], "dörtte"),
        ("kahve", ["DAn"], "kahveden"),
        ("otobüs", ["(y)lA"], "otobüsle"),
        ("taksi", ["(y)lA"], "taksiyle"),
        ("oku", ["(I)yor", "(y)Im"], "okuyorum"),
        ("iste", ["(I)yor", "lAr"], "istiyorlar"),
        ("oyna", ["(I)yor"], "oynuyor"),
        ("yıka", ["(I)yor", "(y)Iz"], "yıkıyoruz"),
        ("söyle", ["mA", "(I)yor"], "söylemiyor"),
        ("bul", ["mA", "DI", "k"], "bulmadık"),
        ("yüz", ["(y)AcAK", "(y)Im"], "yüzeceğim"),
        ("bekle", ["(y)AcAK", "sIn"], "bekleyeceksin"),
        ("gel", ["(y)AmA", "(y)AcAK", "(y)Iz"], "gelemeyeceğiz"),
        ("sat", ["DIK", "(I)m"], "sattığım"),
        ("sat", ["DIK", "lArI", "nI"], "sattıklarını"),
        ("al", ["DI", "n", " mI"], "aldın mı"),
        ("üzgün", ["(y)Im"], "üzgünüm"),
        ("İstanbul", ["lI"], "İstanbullu"),
    ],
)
def test_suffixes(word, suffixes, expected):
    assert attach(word, *suffixes) == expected


@pytest.mark.parametrize(
    ("word", "soft", "harmony", "suffix", "expected"),
    [
        ("kitap", "kitab", "", "(y)I", "kitabı"),
        ("kitap", "kitab", "", "DA", "kitapta"),
        ("kitap", "kitab", "", "(y)lA", "kitapla"),
        ("köpek", "köpeğ", "", "(s)I", "köpeği"),
        ("resim", "resm", "", "(I)m", "resmim"),
        ("git", "gid", "", "(I)yor", "gidiyor"),
        ("git", "gid", "", "DI", "gitti"),
        ("ye", "yi", "", "(I)yor", "yiyor"),
        ("ye", "yi", "", "(y)AcAK", "yiyecek"),
        ("ye", "yi", "", "DI", "yedi"),
        ("saat", "", "e", "(y)I", "saati"),
        ("saat", "", "e", "lAr", "saatler"),
    ],
)
def test_changes_of_the_stem(word, soft, harmony, suffix, expected):
    assert attach(word, suffix, soft=soft, harmony=harmony) == expected


@pytest.mark.parametrize(
    ("name", "case", "expected"),
    [
        ("Ayşe", "gen", "Ayşe'nin"),
        ("Anna", "dat", "Anna'ya"),
        ("Peter", "with", "Peter'le"),
        ("Ali", "with", "Ali'yle"),
        ("Wang Fang", "acc", "Wang Fang'ı"),
        ("Munich", "loc", "Münih'te"),
        ("Vienna", "dat", "Viyana'ya"),
        ("mother", "gen", "annemin"),
        ("I", "nom", ""),
        ("they", "gen", "onların"),
    ],
)
def test_names_take_an_apostrophe(words, name, case, expected):
    assert inflect("tr", words[name], (case,), ()) == expected
