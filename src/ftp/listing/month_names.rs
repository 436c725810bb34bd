//! Recognizes the names of the months in many languages.
//!
//! A word is a month when all names that begin with it, in all languages, mean the same month. So `sept` and `septembre` need
//! no two entries, and `lis`, which is November in Polish and October in Croatian, is no month.
//!
//! # Invariants
//! English, which nearly every server speaks, costs no allocation. Words are UTF-8 or, where they are not, Latin-1.

/// The month that a word names, in any language of [`MONTHS`], in full or cut after three
/// letters or more, in UTF-8 or Latin-1.
pub(crate) fn month(word: &[u8]) -> Option<u32> {
    let word = unpointed(unpunctuated(word));
    if let [a, b, c] = *word {
        let english = match &[a | 0x20, b | 0x20, c | 0x20] {
            b"jan" => 1,
            b"feb" => 2,
            b"mar" => 3,
            b"apr" => 4,
            b"may" => 5,
            b"jun" => 6,
            b"jul" => 7,
            b"aug" => 8,
            b"sep" => 9,
            b"oct" => 10,
            b"nov" => 11,
            b"dec" => 12,
            _ => 0,
        };
        if english != 0 {
            return Some(english);
        }
    }
    if word.len() > 24 {
        return None;
    }
    let text = match std::str::from_utf8(word) {
        Ok(text) => text.to_lowercase(),
        Err(_) => word
            .iter()
            .map(|&byte| char::from(byte))
            .collect::<String>()
            .to_lowercase(),
    };
    if text.chars().count() < 3 {
        return None;
    }
    let mut found = None;
    for (number, names) in (1..).zip(MONTHS) {
        if names.split(' ').any(|name| name.starts_with(&text)) {
            if found.is_some() {
                return None;
            }
            found = Some(number);
        }
    }
    found
}

/// A word without a trailing comma or point.
pub(crate) fn unpunctuated(word: &[u8]) -> &[u8] {
    word.strip_suffix(b",").unwrap_or_else(|| unpointed(word))
}

fn unpointed(word: &[u8]) -> &[u8] {
    word.strip_suffix(b".").unwrap_or(word)
}

/// The months in English, German, Dutch, Swedish, Danish, Norwegian, French, Italian, Spanish,
/// Portuguese, Catalan, Finnish, Hungarian, Turkish, Polish, Czech, Croatian, Russian (in both
/// cases) and Ukrainian; short forms only where they are no beginning of the long one.
#[rustfmt::skip]
const MONTHS: [&str; 12] = [
    "january januar jänner januari janvier gennaio enero janeiro gener tammikuu január ocak styczeń leden siječanj январь января січень",
    "february februar februari février febbraio febrero fevereiro febrer helmikuu február şubat luty únor veljača февраль февраля лютий",
    "march märz mrz maart mrt mars marts marzo março març maaliskuu március mart marzec březen ožujak март марта березень",
    "april avril aprile abril huhtikuu április nisan kwiecień duben travanj апрель апреля квітень",
    "may mai mei maj maggio mayo maio maig toukokuu május mayıs květen svibanj май мая травень",
    "june juni juin giugno junio junho juny kesäkuu június haziran czerwiec čen lipanj июнь июня червень",
    "july juli juillet luglio julio julho juliol heinäkuu július temmuz čec lipiec srpanj июль июля липень",
    "august augustus augusti août agosto agost elokuu augusztus ağustos sierpień srpen kolovoz август августа серпень",
    "september septembre settembre septiembre setembro setembre syyskuu szeptember szept eylül wrzesień září rujan сентябрь сентября вересень",
    "october oktober octobre ottobre octubre outubro lokakuu október ekim październik říjen listopad октябрь октября жовтень",
    "november novembre noviembre novembro marraskuu kasım listopad studeni ноябрь ноября листопад",
    "december dezember desember décembre dicembre diciembre dezembro desembre joulukuu aralık grudzień prosinec prosinac декабрь декабря грудень",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_known_in_utf_8_and_latin_1() {
        for (word, expected) in [
            (&b"M\xe4r"[..], Some(3)),
            ("Mär".as_bytes(), Some(3)),
            (b"f\xe9vr.", Some(2)),
            ("août".as_bytes(), Some(8)),
            ("МАЯ".as_bytes(), Some(5)),
            (b"mars", Some(3)),
            (b"juin", Some(6)),
            (b"jui", None),
            (b"listopad", None),
            (b"ma", None),
            (b"", None),
        ] {
            assert_eq!(month(word), expected, "{}", String::from_utf8_lossy(word));
        }
    }
}
