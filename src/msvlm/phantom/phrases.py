"""The sentences of a synthetic report: for each finding many ways to state it, to deny it, and to sum it up.

Fields in a sentence: `{degree}` an adjective, `{degreely}` its adverb, `{where}` a place with its preposition,
`{side}` right, left or bilateral, `{size}` a length, `{kind}` a device; `{s}` and `{a}` follow the number of lesions.
"""

from dataclasses import dataclass

NORMAL_IMPRESSIONS = (
    "No acute finding in the chest.",
    "No significant abnormality on this chest CT.",
    "Unremarkable CT of the chest.",
    "Chest CT within normal limits.",
    "No relevant pathology in the chest.",
)
DENIALS = (
    "No {terms}.",
    "There is no {terms}.",
    "No evidence of {terms}.",
    "{terms} {is} not seen.",
    "There is no sign of {terms}.",
)
"""How one term, or several joined by "or", are denied."""


@dataclass(frozen=True)
class Phrases:
    """The wordings of one finding.

    Attributes:
        present: whole sentences that state it.
        absent: whole sentences that deny it.
        terms: names that fit after "no".
        brief: short forms for the impression.
        degrees: adjectives for mild, moderate and severe.
    """

    finding: str
    present: tuple[str, ...]
    absent: tuple[str, ...]
    terms: tuple[str, ...]
    brief: tuple[str, ...]
    degrees: tuple[tuple[str, ...], ...] = (("mild", "slight", "minimal"), ("moderate",), ("severe", "marked"))


_SIZED_DEGREES = (("small", "mild", "minimal"), ("moderate", "medium-sized"), ("large", "massive"))

PHRASES: tuple[Phrases, ...] = (
    Phrases(
        "medical_material",
        (
            "{a} {kind} is in place.",
            "{a} {kind} is noted.",
            "There is {a} {kind}.",
            "Medical material: {kind}.",
            "Status after placement of {a} {kind}.",
            "{a} {kind} is visible in expected position.",
        ),
        (
            "No medical devices are seen.",
            "No implanted device or catheter.",
            "There is no foreign or surgical material.",
            "No medical material is present.",
            "No catheters or implanted devices are visible.",
        ),
        ("medical device", "implanted device", "medical material"),
        ("{a} {kind} in situ.", "{kind} in place.", "Indwelling {kind}."),
    ),
    Phrases(
        "cardiomegaly",
        (
            "The heart is {degreely} enlarged.",
            "There is {degree} cardiomegaly.",
            "{degree} cardiomegaly is present.",
            "Heart size is {degreely} increased.",
            "The cardiac silhouette is {degreely} enlarged.",
            "The cardiothoracic ratio is {degreely} increased.",
        ),
        (
            "The heart is of normal size.",
            "Heart size is normal.",
            "The heart is not enlarged.",
            "No cardiomegaly.",
            "Cardiac dimensions are normal.",
            "The cardiothoracic ratio is normal.",
        ),
        ("cardiomegaly", "cardiac enlargement"),
        ("{degree} cardiomegaly.", "{degreely} enlarged heart.", "{degree} cardiac enlargement."),
    ),
    Phrases(
        "pericardial_effusion",
        (
            "There is a {degree} pericardial effusion.",
            "A {degree} pericardial effusion is seen.",
            "A {degree} amount of pericardial fluid is present.",
            "{degree} pericardial effusion surrounds the heart.",
            "{degree} pericardial fluid collection.",
        ),
        (
            "No pericardial effusion.",
            "There is no pericardial fluid.",
            "A pericardial effusion is not seen.",
            "The pericardium contains no effusion.",
            "Pericardial effusion was not detected.",
        ),
        ("pericardial effusion", "pericardial fluid"),
        ("{degree} pericardial effusion.", "{degree} amount of pericardial fluid."),
        _SIZED_DEGREES,
    ),
    Phrases(
        "arterial_wall_calcification",
        (
            "{degree} calcification of the aortic wall.",
            "There is {degree} calcified plaque in the thoracic aorta.",
            "{degree} atherosclerotic calcification of the aorta is noted.",
            "The aortic wall shows {degree} calcifications.",
            "{degree} calcific atheroma is seen in the aortic arch and descending aorta.",
            "{degree} calcified plaques line the aorta.",
        ),
        (
            "The aorta is free of calcification.",
            "No aortic wall calcification.",
            "There is no calcified plaque in the aorta.",
            "No atherosclerotic calcification of the thoracic aorta is seen.",
            "Calcification of the aortic wall is not seen.",
        ),
        ("aortic wall calcification", "calcified plaque in the aorta"),
        ("{degree} aortic calcification.", "{degree} atherosclerotic calcification of the aorta."),
    ),
    Phrases(
        "coronary_artery_wall_calcification",
        (
            "{degree} coronary artery calcification.",
            "There are {degree} calcifications along the coronary arteries.",
            "{degree} calcified coronary plaque is present.",
            "The coronary arteries show {degree} wall calcification.",
            "{degree} coronary calcification is noted.",
        ),
        (
            "No coronary artery calcification.",
            "The coronary arteries are free of calcification.",
            "Coronary calcifications are not seen.",
            "There is no calcified coronary plaque.",
            "No calcification of the coronary arteries is detected.",
        ),
        ("coronary artery calcification", "calcified coronary plaque"),
        ("{degree} coronary artery calcification.", "{degree} coronary calcification."),
    ),
    Phrases(
        "lymphadenopathy",
        (
            "Mediastinal lymphadenopathy measuring up to {size}.",
            "Enlarged mediastinal lymph nodes are seen, up to {size} in diameter.",
            "There are pathological lymph nodes of up to {size}.",
            "There is thoracic lymphadenopathy, the largest node measuring {size}.",
            "Enlarged lymph nodes in the mediastinum and hila reach {size}.",
            "Adenopathy is present with a node of {size}.",
        ),
        (
            "No enlarged lymph nodes.",
            "There is no lymphadenopathy.",
            "No pathological mediastinal or hilar lymph nodes.",
            "Lymph nodes are not enlarged.",
            "No mediastinal adenopathy is seen.",
        ),
        ("lymphadenopathy", "enlarged lymph nodes", "adenopathy"),
        ("Mediastinal lymphadenopathy.", "Lymphadenopathy up to {size}.", "Enlarged lymph nodes."),
    ),
    Phrases(
        "hiatal_hernia",
        (
            "There is a {degree} hiatal hernia of {size}.",
            "A {degree} hiatus hernia is seen, measuring {size}.",
            "A {degree} sliding hiatal hernia, {size} wide, is noted.",
            "Behind the heart lies a {degree} hiatal hernia measuring {size}.",
            "A {size} hiatal hernia of {degree} extent is present.",
        ),
        (
            "No hiatal hernia.",
            "There is no hiatus hernia.",
            "A hiatal hernia is not seen.",
            "No herniation of the stomach through the hiatus.",
            "Hiatal hernia was not detected.",
        ),
        ("hiatal hernia", "hiatus hernia"),
        ("{degree} hiatal hernia.", "{degree} hiatus hernia."),
        (("small", "mild"), ("moderate", "medium-sized"), ("large",)),
    ),
    Phrases(
        "peribronchial_thickening",
        (
            "Peribronchial thickening is seen {where}.",
            "There is bronchial wall thickening {where}.",
            "Bronchial walls are thickened {where}.",
            "Thickened bronchial walls are noted {where}.",
            "Peribronchial cuffing is present {where}.",
        ),
        (
            "No peribronchial thickening.",
            "Bronchial walls are not thickened.",
            "There is no bronchial wall thickening.",
            "No peribronchial cuffing is seen.",
            "Peribronchial thickening is not seen.",
        ),
        ("peribronchial thickening", "bronchial wall thickening"),
        ("Peribronchial thickening {where}.", "Bronchial wall thickening {where}."),
    ),
    Phrases(
        "bronchiectasis",
        (
            "Bronchiectasis is seen {where}.",
            "There are dilated bronchi {where}.",
            "Bronchiectatic changes are present {where}.",
            "Tubular bronchiectasis is noted {where}.",
            "Bronchial dilatation is observed {where}.",
        ),
        (
            "No bronchiectasis.",
            "There are no dilated bronchi.",
            "Bronchiectasis is not seen.",
            "No bronchial dilatation is present.",
            "The bronchi are not dilated, without bronchiectasis.",
        ),
        ("bronchiectasis", "dilated bronchi"),
        ("Bronchiectasis {where}.", "Bronchiectatic changes {where}."),
    ),
)
