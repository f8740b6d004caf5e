import pytest

from msvlm.labeling.label import label_report, label_sentence
from msvlm.labeling.scope import split_sentences
from msvlm.vocabulary.chest import CHEST
from msvlm.vocabulary.vocabulary import Certainty

SYNONYMS = {
    "medical_material": ("pacemaker", "port", "catheter", "stent"),
    "arterial_wall_calcification": ("atherosclerotic calcification of the aorta", "calcific atheroma"),
    "cardiomegaly": ("enlarged heart", "increased heart size"),
    "pericardial_effusion": ("pericardial fluid",),
    "coronary_artery_wall_calcification": ("coronary calcification", "calcified coronary plaque"),
    "hiatal_hernia": ("hiatus hernia",),
    "lymphadenopathy": ("enlarged lymph nodes", "pathological lymph nodes"),
    "emphysema": ("emphysematous changes",),
    "atelectasis": ("atelectatic change", "volume loss"),
    "lung_nodule": ("pulmonary nodule", "nodular lesion"),
    "lung_opacity": ("lung opacity", "ground glass"),
    "pulmonary_fibrotic_sequela": ("fibrotic band", "sequelae change", "fibrosis"),
    "pleural_effusion": ("pleural fluid",),
    "mosaic_attenuation_pattern": ("mosaic perfusion", "air trapping"),
    "peribronchial_thickening": ("bronchial wall thickening",),
    "consolidation": ("consolidative area", "airspace disease"),
    "bronchiectasis": ("dilated bronchi",),
    "interlobular_septal_thickening": ("thickened interlobular septa",),
}


def _said(text: str) -> dict[str, str]:
    return {statement.name: statement.certainty.value for statement in label_sentence(text, CHEST)}


def _attributes(text: str) -> dict[str, set[str]]:
    return {statement.name: set(statement.attributes) for statement in label_sentence(text, CHEST)}


@pytest.mark.parametrize("kind", CHEST.findings, ids=lambda kind: kind.name)
def test_every_term_and_synonym_is_found_and_can_be_denied_and_doubted(kind) -> None:
    for term in (kind.term, *SYNONYMS[kind.name]):
        if term in ("volume loss",):
            term = "volume loss of the left lower lobe"
        assert _said(f"There is {term}.").get(kind.name) == "present", term
        assert _said(f"There is no {term}.").get(kind.name) == "absent", term
        assert _said(f"No {term} is seen.").get(kind.name) == "absent", term
        assert _said(f"{term.capitalize()} is not seen.").get(kind.name) == "absent", term
        assert _said(f"Possible {term}.").get(kind.name) == "uncertain", term


@pytest.mark.parametrize(
    "text, present, absent",
    [
        ("No pleural or pericardial effusion.", [], ["pericardial_effusion", "pleural_effusion"]),
        ("There is no pericardial, pleural effusion.", [], ["pericardial_effusion", "pleural_effusion"]),
        (
            "No consolidation, nodule or ground-glass opacity.",
            [],
            ["lung_nodule", "lung_opacity", "consolidation"],
        ),
        (
            "Consolidation, nodule or ground-glass opacity was not observed.",
            [],
            ["lung_nodule", "lung_opacity", "consolidation"],
        ),
        ("No effusion is seen, and there is a nodule in the left lung.", ["lung_nodule"], ["pleural_effusion"]),
        ("There is mild emphysema but no bronchiectasis.", ["emphysema"], ["bronchiectasis"]),
        ("Emphysema without bronchiectasis or consolidation.", ["emphysema"], ["consolidation", "bronchiectasis"]),
        ("Except for a hiatal hernia, no abnormality is seen.", ["hiatal_hernia"], []),
        ("No abnormality apart from a small hiatal hernia.", ["hiatal_hernia"], []),
        ("No change is seen in the nodules of the right lung.", ["lung_nodule"], []),
        ("Nodules that were not seen in the previous examination are present.", ["lung_nodule"], []),
        ("The heart is enlarged.", ["cardiomegaly"], []),
        ("The heart is not enlarged.", [], ["cardiomegaly"]),
        ("Heart size is normal.", [], ["cardiomegaly"]),
        (
            "Atheroma plaques are seen in the aorta and the coronary arteries.",
            ["arterial_wall_calcification", "coronary_artery_wall_calcification"],
            [],
        ),
        ("A hypodense nodule is seen in the thyroid gland.", [], []),
        (
            "The mediastinum cannot be judged for lack of contrast; a small pleural effusion is seen.",
            ["pleural_effusion"],
            [],
        ),
        ("No nodule other than a 4 mm one in the right upper lobe.", ["lung_nodule"], []),
        ("There are no new nodules; the known nodule is stable.", ["lung_nodule"], []),
        ("The effusion, which was seen in the previous examination, is no longer seen.", [], ["pleural_effusion"]),
        ("An effusion that was not seen in the previous examination is present.", ["pleural_effusion"], []),
        ("In the previous examination of the patient, there was consolidation.", [], []),
        ("The chest tube has been removed.", [], ["medical_material"]),
        ("Status after removal of the pacemaker.", [], ["medical_material"]),
        ("Sternal wires of an earlier operation.", ["medical_material"], []),
        ("Consolidation, not atelectasis, in the right lower lobe.", ["consolidation"], ["atelectasis"]),
        ("Not only emphysema but also bronchiectasis.", ["emphysema", "bronchiectasis"], []),
        ("Bronchial walls are neither thickened nor dilated.", [], ["peribronchial_thickening"]),
        ("Emphysema was not observed, atelectasis was.", ["atelectasis"], ["emphysema"]),
        ("Calcified coronary arteries; the aorta is unremarkable.", ["coronary_artery_wall_calcification"], []),
        (
            "Calcified plaques line the aortic arch and the abdominal aorta.",
            ["arterial_wall_calcification"],
            [],
        ),
        ("Calcified plaques line the abdominal aorta.", [], []),
        ("A hypodense nodule in the right lobe of the thyroid.", [], []),
        ("A hypodense nodule in the right lower lobe.", ["lung_nodule"], []),
        ("Increased density at both lung bases, dependent.", ["lung_opacity"], []),
        ("Linear density increases of both lungs, in keeping with atelectasis.", ["atelectasis"], []),
        ("Increased density of the mesenteric fat.", [], []),
        ("The consolidation is compatible with pneumonic infiltration.", ["consolidation"], []),
        ("No pneumonic infiltration.", [], ["lung_opacity"]),
        ("Small lymph nodes of 5 mm are seen at the hila.", ["lymphadenopathy"], []),
        ("No lymph node of pathological size is seen.", [], ["lymphadenopathy"]),
        ("Scars in the left apex.", ["pulmonary_fibrotic_sequela"], []),
        ("A scar of the skin.", [], []),
        ("Ectasia of the bronchi.", ["bronchiectasis"], []),
        ("Ectasia of the ascending aorta.", [], []),
        ("Heart: enlarged.", ["cardiomegaly"], []),
        ("Lymph nodes: not enlarged.", [], ["lymphadenopathy"]),
        ("Pleural effusion: no.", [], ["pleural_effusion"]),
        ("Pleural effusion (-).", [], ["pleural_effusion"]),
        ("Findings: no nodule; linear atelectasis.", ["atelectasis"], ["lung_nodule"]),
        ("There is no evidence that the nodule has grown.", ["lung_nodule"], []),
        ("A nodule, not previously seen.", ["lung_nodule"], []),
        ("Resolution of the pleural effusion.", [], ["pleural_effusion"]),
        ("Pericardial thickening without effusion.", [], ["pericardial_effusion"]),
    ],
)
def test_negation_reaches_as_far_as_the_sentence_means(text: str, present: list[str], absent: list[str]) -> None:
    said = _said(text)
    assert [name for name, certainty in said.items() if certainty == "present"] == present
    assert [name for name, certainty in said.items() if certainty == "absent"] == absent


@pytest.mark.parametrize(
    "text",
    [
        "Bronchiectasis cannot be excluded.",
        "Bronchiectasis could not be ruled out.",
        "Findings may represent bronchiectasis.",
        "Dilated airways (bronchiectasis?).",
        "Appearance suspicious for bronchiectasis.",
    ],
)
def test_doubt_is_neither_yes_nor_no(text: str) -> None:
    assert _said(text) == {"bronchiectasis": "uncertain"}


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("A nodule in the right upper lobe.", {"lung_nodule": {"right", "right upper lobe"}}),
        ("A nodule in the upper lobe of the right lung.", {"lung_nodule": {"right", "right upper lobe"}}),
        ("In the right lung upper lobe a nodule is seen.", {"lung_nodule": {"right", "right upper lobe"}}),
        (
            "Emphysema of the upper lobes.",
            {"emphysema": {"right", "left", "right upper lobe", "left upper lobe"}},
        ),
        ("Atelectasis at the left base.", {"atelectasis": {"left", "left lower lobe"}}),
        ("Middle lobe atelectasis.", {"atelectasis": {"right", "right middle lobe"}}),
        ("Atelectasis in the lingula.", {"atelectasis": {"left", "left upper lobe"}}),
        (
            "Consolidation in both lower lobes.",
            {"consolidation": {"right", "left", "right lower lobe", "left lower lobe"}},
        ),
        ("Moderate bilateral pleural effusion.", {"pleural_effusion": {"right", "left", "moderate"}}),
        ("Pleural effusion, severe on the left.", {"pleural_effusion": {"left", "severe"}}),
        (
            "Right pleural effusion and left lower lobe atelectasis.",
            {"pleural_effusion": {"right"}, "atelectasis": {"left", "left lower lobe"}},
        ),
        (
            "Consolidation and atelectasis in the left upper and lower lobes.",
            {
                "atelectasis": {"left", "left upper lobe", "left lower lobe"},
                "consolidation": {"left", "left upper lobe", "left lower lobe"},
            },
        ),
        ("A catheter on the right.", {"medical_material": set()}),
        ("Atelectasis in the posterobasal segment of the left lung.", {"atelectasis": {"left", "left lower lobe"}}),
        ("A nodule in the apicoposterior segment.", {"lung_nodule": {"left", "left upper lobe"}}),
        (
            "Bands of fibrosis in both apices.",
            {"pulmonary_fibrotic_sequela": {"right", "left", "right upper lobe", "left upper lobe"}},
        ),
        (
            "Consolidation in the right upper lobe and the basal segments of the left lower lobe.",
            {"consolidation": {"right", "left", "right upper lobe", "left lower lobe"}},
        ),
        (
            "In the right lung a nodule is seen in the upper lobe and atelectasis is present in the lower lobe.",
            {"lung_nodule": {"right", "right upper lobe"}, "atelectasis": {"right", "right lower lobe"}},
        ),
        ("The heart is borderline large.", {"cardiomegaly": set()}),
    ],
)
def test_side_lobe_and_degree_go_to_the_finding_that_they_belong_to(text: str, wanted: dict[str, set[str]]) -> None:
    assert _attributes(text) == wanted


@pytest.mark.parametrize(
    "text, size_mm",
    [
        ("A nodule of 8 mm in the left lung.", 8.0),
        ("An 8-mm nodule.", 8.0),
        ("A 1.2 cm nodule.", 12.0),
        ("A nodule measuring 9 x 6.5 mm.", 9.0),
        ("Nodules in both lungs, the largest measuring 6 mm.", 6.0),
        ("A nodule of 5x3 mm.", 5.0),
        ("A nodule of 1,5 cm.", 15.0),
        ("A nodule of 9 mm, 11 mm in the previous examination.", 9.0),
        ("A millimetric nodule.", None),
        ("A nodule.", None),
    ],
)
def test_sizes_are_read_in_mm(text: str, size_mm: float | None) -> None:
    assert label_sentence(text, CHEST)[0].size_mm == size_mm


def test_a_sentence_that_refers_back_adds_to_the_finding_before_it() -> None:
    report = label_report(
        "There are nodules in the lungs. The largest is in the left lower lobe and measures 7 mm.", CHEST
    )
    nodule = report[CHEST.names.index("lung_nodule")]
    assert nodule.size_mm == 7.0 and nodule.attributes == {"left", "left lower lobe"}


def test_a_report_has_one_statement_for_each_finding_and_a_yes_outweighs_a_no() -> None:
    report = label_report("No nodule in the right lung. A nodule in the left lung. No effusion.", CHEST)
    assert tuple(statement.name for statement in report) == CHEST.names
    assert [item.name for item in report if item.certainty is not Certainty.ABSENT] == ["lung_nodule"]
    assert all(item.certainty is Certainty.ABSENT for item in label_report("", CHEST))


def test_sentences_end_at_stops_and_list_marks_but_not_inside_numbers() -> None:
    text = "A nodule of 3.5 mm. No effusion (atelectasis?). Heart normal.\nImpression: nodule."
    assert split_sentences(text) == (
        "A nodule of 3.5 mm.",
        "No effusion (atelectasis?).",
        "Heart normal.",
        "Impression: nodule.",
    )
