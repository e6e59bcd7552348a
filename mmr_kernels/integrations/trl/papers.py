"""The methods' names and papers, as TRL's model cards show them."""

from __future__ import annotations

from typing import NamedTuple


class Paper(NamedTuple):
    """What a citation holds; ``venue`` is empty where there is a preprint alone."""

    title: str
    authors: str
    year: int
    arxiv: str
    key: str
    venue: str = ""

    def card(self) -> dict[str, str]:
        """As TRL's trainers have it."""
        kind, venue = ("inproceedings", f"    booktitle    = {{{self.venue}}},\n") if self.venue else ("misc", "")
        citation = (
            f"@{kind}{{{self.key},\n    title        = {{{{{self.title}}}}},\n    author       = {{{self.authors}}},\n"
            f"    year         = {self.year},\n{venue}    eprint       = {{arXiv:{self.arxiv}}},\n}}"
        )
        return {"title": self.title, "id": self.arxiv, "citation": citation}


#: Names and papers of the methods that were published.
PAPERS: dict[str, tuple[str, Paper]] = {
    "mmr": (
        "MMR-GRPO",
        Paper(
            "MMR-GRPO: Accelerating GRPO-Style Training through Diversity-Aware Reward Reweighting",
            "Kangda Wei and Ruihong Huang",
            2026,
            "2601.09085",
            "wei2026mmrgrpo",
            "Findings of the Association for Computational Linguistics: ACL 2026",
        ),
    ),
    "smi": (
        "DRA-GRPO",
        Paper(
            "DRA-GRPO: Your GRPO Needs to Know Diverse Reasoning Paths for Mathematical Reasoning",
            "Xiwen Chen and Wenhui Zhu and Peijie Qiu and Xuanzhao Dong and Hao Wang and Haiyu Wu and Huayu Li"
            " and Aris Sotiras and Yalin Wang and Abolfazl Razi",
            2026,
            "2505.09655",
            "chen2026dragrpo",
            "Findings of the Association for Computational Linguistics: ACL 2026",
        ),
    ),
    "unique": (
        "Uniqueness-Aware RL",
        Paper(
            "Rewarding the Rare: Uniqueness-Aware RL for Creative Problem Solving in LLMs",
            "Zhiyuan Hu and Yucheng Wang and Yufei He and Jiaying Wu and Yilun Zhao and See-Kiong Ng and"
            " Cynthia Breazeal and Anh Tuan Luu and Hae Won Park and Bryan Hooi",
            2026,
            "2601.08763",
            "hu2026rewarding",
        ),
    ),
    "partition": (
        "DARLING",
        Paper(
            "Jointly Reinforcing Diversity and Quality in Language Model Generations",
            "Tianjian Li and Yiming Zhang and Ping Yu and Swarnadeep Saha and Daniel Khashabi and Jason Weston and"
            " Jack Lanchantin and Tianlu Wang",
            2025,
            "2509.02534",
            "li2025darling",
        ),
    ),
    "dpp": (
        "DQO",
        Paper(
            "Post-training Large Language Models for Diverse High-Quality Responses",
            "Yilei Chen and Souradip Chakraborty and Lorenz Wolf and Yannis Paschalidis and Aldo Pacchiano",
            2026,
            "2509.04784",
            "chen2026dqo",
            "International Conference on Learning Representations",
        ),
    ),
}
